"""Every error leaves as `application/problem+json` (RFC 9457), with a stable `code`."""

from __future__ import annotations

import http
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, JsonResponse
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from drf_standardized_errors.types import ErrorResponse
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from config.core.errors import DatabaseUnavailable, DomainError, WalletBusy
from config.core.transactions import CONTENDED_SQLSTATES, UNAVAILABLE_SQLSTATES, sqlstate

PROBLEM_TYPE = "application/problem+json"
SHOWN_MAX_LENGTH = 500
# What DRF calls by another name than the contract.
_CODES = {
    "authentication_failed": "token_invalid",
    "parse_error": "malformed_json",
    "throttled": "rate_limited",
    "error": "internal_error",
    "invalid": "validation_error",
}


def shown(text: str) -> str:
    """Text that may repeat a caller's input: short, and with half a surrogate pair escaped.

    JSON can write `"\\ud800"`, UTF-8 cannot: repeated as it came, it would turn the refusal into a 500.
    """
    return str(text)[:SHOWN_MAX_LENGTH].encode("utf-8", "backslashreplace").decode()


def problem(*, status: int, code: str, detail: str, title: str | None = None, **members: Any) -> dict[str, Any]:
    """The problem document. `type` is a stable URN-like reference to the code's row in docs/api.md."""
    return {
        "type": f"urn:tallyroom:problem:{code}",
        "title": title or http.HTTPStatus(status).phrase,
        "status": status,
        "detail": shown(detail),
        "code": code,
        **members,
    }


def domain_problem(error: DomainError) -> dict[str, Any]:
    return problem(status=error.status, code=error.code, detail=error.detail, title=error.title, **error.members)


class ProblemFormatter(ExceptionFormatter):
    """DRF's own exceptions as problem documents; drf-standardized-errors flattens nested field errors for us."""

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        status = self.exc.status_code
        errors = error_response.errors
        if isinstance(self.exc, exceptions.ValidationError):
            fields = [{"field": shown(e.attr or ""), "code": e.code, "detail": shown(e.detail)} for e in errors]
            detail = (
                f"{fields[0]['field']}: {fields[0]['detail']}" if fields and fields[0]["field"] else "Invalid input."
            )
            return problem(status=422, code="validation_error", detail=detail, title="Invalid input", errors=fields)
        code = _CODES.get(errors[0].code, errors[0].code)
        if status == 500:
            return problem(status=500, code="internal_error", detail="Something went wrong on our side.")
        return problem(status=status, code=code, detail=str(errors[0].detail))


class ProblemResponse(Response):
    """JSON whatever the view's own renderers are: a CSV or a page is no problem document."""

    @property
    def rendered_content(self) -> bytes:  # type: ignore[override]
        self["Content-Type"] = PROBLEM_TYPE
        return bytes(JSONRenderer().render(self.data))


class _Handler(ExceptionHandler):
    def get_response(self, exc: exceptions.APIException, data: dict[str, Any]) -> Response:
        return ProblemResponse(data, status=data["status"], headers=self.get_headers(exc))


def exception_handler(exc: Exception, context: Any) -> Response | None:
    """DRF's hook. Domain errors know their own answer; a database that is away is 503, not a bug.

    Nor is one in which others were at the same rows for too long: 409, and the same request again may well go through.
    """
    if isinstance(exc, OperationalError) and sqlstate(exc) in CONTENDED_SQLSTATES:
        exc = WalletBusy()
    elif isinstance(exc, (OperationalError, InterfaceError)) or sqlstate(exc) in UNAVAILABLE_SQLSTATES:
        exc = DatabaseUnavailable()
    if isinstance(exc, DomainError):
        return ProblemResponse(domain_problem(exc), status=exc.status, headers=exc.headers)
    return _Handler(exc, context).run()


def _plain(status: int, code: str, detail: str) -> JsonResponse:
    return JsonResponse(problem(status=status, code=code, detail=detail), status=status, content_type=PROBLEM_TYPE)


def handler400(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return _plain(400, "bad_request", "The request could not be understood.")


def handler403(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return _plain(403, "permission_denied", "You may not do this.")


def handler404(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return _plain(404, "not_found", "There is no such resource.")


def handler500(request: HttpRequest) -> JsonResponse:
    return _plain(500, "internal_error", "Something went wrong on our side.")

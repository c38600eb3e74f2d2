"""Middleware: the request's id and log context for all paths, Django's session family for the admin alone.

The session family is synchronous in part, which under ASGI costs a thread hop each; the API has bearer tokens and no
sessions, so it goes past them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware

from config.core.ids import uuid7

log = structlog.get_logger(__name__)
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:-]{8,128}")


def request_id(header: str | None) -> str:
    """The caller's X-Request-ID if it is well-formed (8 to 128 of `A-Za-z0-9._:-`), else a new one."""
    if header and _WELL_FORMED.fullmatch(header):
        return header
    return str(uuid7())


class RequestContextMiddleware:
    """Give each request its id, bind it to the log context, and write one line when it has been answered."""

    async_capable = True
    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        return self._async(request) if self.is_async else self._sync(request)

    def _sync(self, request: HttpRequest) -> HttpResponseBase:
        started = self._begin(request)
        return self._end(request, self.get_response(request), started)

    async def _async(self, request: HttpRequest) -> HttpResponseBase:
        started = self._begin(request)
        return self._end(request, await self.get_response(request), started)

    def _begin(self, request: HttpRequest) -> float:
        request.request_id = request_id(request.headers.get("X-Request-ID"))  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.request_id)  # type: ignore[attr-defined]
        return time.monotonic()

    def _end(self, request: HttpRequest, response: HttpResponseBase, started: float) -> HttpResponseBase:
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        if not request.path.startswith("/api/v1/health"):
            log.info(
                "request",
                method=request.method,
                path=request.path,
                status=response.status_code,
                latency_ms=round((time.monotonic() - started) * 1000),
            )
        return response


def _for_admin_only(middleware: type[Any]) -> type[Any]:
    """The same middleware, passed by for every path outside the admin."""

    class AdminOnly(middleware):  # type: ignore[misc]
        def __call__(self, request: HttpRequest) -> Any:
            if request.path.startswith("/admin/"):
                return super().__call__(request)
            return self.get_response(request)

        def process_view(self, request: HttpRequest, *args: Any) -> Any:
            if request.path.startswith("/admin/") and hasattr(middleware, "process_view"):
                return super().process_view(request, *args)
            return None

    AdminOnly.__name__ = AdminOnly.__qualname__ = f"Admin{middleware.__name__}"
    return AdminOnly


AdminSessionMiddleware = _for_admin_only(SessionMiddleware)
AdminCsrfMiddleware = _for_admin_only(CsrfViewMiddleware)
AdminAuthMiddleware = _for_admin_only(AuthenticationMiddleware)
AdminMessageMiddleware = _for_admin_only(MessageMiddleware)

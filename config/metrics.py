"""`GET /metrics`, for Prometheus: what the processes of this machine counted, and what the database says.

With METRICS_TOKEN a scrape needs it as a bearer token. Without one, only who connects directly and from a private
address gets an answer; for everybody else there is nothing here.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from config.core.metrics import gathered
from config.core.problems import PROBLEM_TYPE, problem
from config.database_metrics import DatabaseCollector

_FORWARDED = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_REAL_IP",
    "HTTP_FORWARDED",
    "HTTP_VIA",
)
_NOT_FOUND = problem(status=404, code="not_found", detail="There is no such resource.")
_TOKEN_NEEDED = problem(status=401, code="token_invalid", detail="This needs the metrics token.")


@dataclass(frozen=True, slots=True)
class Scrape:
    """An answer to a scrape, for Django's views and for the worker's small server alike."""

    status: int
    content_type: str
    body: bytes | dict[str, Any]


@require_safe
def metrics(request: HttpRequest) -> HttpResponseBase:
    scrape = scraped(request.META)
    if isinstance(scrape.body, dict):
        response: HttpResponse = JsonResponse(scrape.body, status=scrape.status, content_type=scrape.content_type)
        if scrape.status == 401:
            response["WWW-Authenticate"] = "Bearer"
        return response
    return HttpResponse(scrape.body, content_type=scrape.content_type)


def scraped(meta: Mapping[str, Any]) -> Scrape:
    """The metrics as text, or why not. `meta` is a CGI environment, as Django and WSGI have it."""
    refusal = _refusal(meta)
    if refusal is not None:
        return Scrape(int(refusal["status"]), PROBLEM_TYPE, refusal)
    encode, content_type = choose_encoder(str(meta.get("HTTP_ACCEPT", "")))
    return Scrape(200, content_type, encode(gathered(DatabaseCollector())))


def _refusal(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    if settings.METRICS_TOKEN:
        scheme, _, token = str(meta.get("HTTP_AUTHORIZATION", "")).partition(" ")
        is_known = secrets.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
        return None if is_known and scheme.lower() == "bearer" else _TOKEN_NEEDED
    return None if _is_direct(meta) and _is_private(str(meta.get("REMOTE_ADDR", ""))) else _NOT_FOUND


def _is_direct(meta: Mapping[str, Any]) -> bool:
    """What came through a proxy came from anywhere, however private the proxy's own address is."""
    return not any(name in meta for name in _FORWARDED)


def _is_private(address: str) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    # Python takes every IPv4 address in IPv6's clothes for a private one.
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return _is_private(str(ip.ipv4_mapped))
    return ip.is_loopback or ip.is_private

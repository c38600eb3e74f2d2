"""Middleware: the request's id and log context, and Django's header middleware in a form that takes no threads.

The API has a middleware list of its own (`API_MIDDLEWARE`, used by `config.core.api_handler`): the session family and
static files are synchronous, which under ASGI would hold a thread for as long as a turn is waited for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin

from config.core import http_metrics, tracing
from config.core.ids import uuid7

log = structlog.get_logger(__name__)
# What machines ask for every few seconds.
_UNLOGGED = ("/api/v1/health", "/metrics")
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
        tracing.adopt(request.headers)
        return time.monotonic()

    def _end(self, request: HttpRequest, response: HttpResponseBase, started: float) -> HttpResponseBase:
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        latency_s = time.monotonic() - started
        http_metrics.answered(request, status=response.status_code, latency_s=latency_s)
        if not request.path.startswith(_UNLOGGED):
            log.info(
                "request",
                method=request.method,
                path=request.path,
                status=response.status_code,
                latency_ms=round(latency_s * 1000),
            )
        return response


class _Direct:
    """Runs a middleware that only reads and sets headers right in the event loop, where Django would take a thread."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        early = self.process_request(request) if hasattr(self, "process_request") else None
        response = early if early is not None else await self.get_response(request)  # type: ignore[attr-defined]
        return self.process_response(request, response)  # type: ignore[attr-defined, no-any-return]


class ApiSecurityMiddleware(_Direct, SecurityMiddleware):
    pass


class ApiFrameMiddleware(_Direct, XFrameOptionsMiddleware):
    pass


class LoopbackCookieMiddleware(MiddlewareMixin):
    """Lets staff use the admin over plain HTTP on the machine itself, for example through an SSH tunnel.

    In production cookies are `Secure`, and not every client sends those back to http://localhost. What goes from this
    machine to this machine crosses no network, so there, and only there, the attribute is left out. A request that came
    through a proxy is never such a one.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.cookies and _stays_on_this_machine(request):
            for cookie in response.cookies.values():
                cookie["secure"] = ""
        return response


_LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
_PROXY_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via")


def _stays_on_this_machine(request: HttpRequest) -> bool:
    host = request.headers.get("Host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return (
        not request.is_secure()
        and request.META.get("REMOTE_ADDR") in {"127.0.0.1", "::1"}
        and name in _LOOPBACK_HOSTS
        and not any(header in request.headers for header in _PROXY_HEADERS)
    )

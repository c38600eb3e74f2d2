"""What is counted of HTTP requests. A stream counts until its response starts, not until it ends."""

from __future__ import annotations

from django.http import HttpRequest

from config.core.metrics import counter, histogram

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)

_REQUESTS = counter("http_requests_total", "HTTP requests answered, by route.", ("method", "route", "status"))
_DURATION = histogram(
    "http_request_duration_seconds",
    "From a request to the start of its response, by route.",
    ("method", "route"),
    buckets=_SECONDS,
)


def answered(request: HttpRequest, *, status: int, latency_s: float) -> None:
    method = request.method if request.method in _METHODS else "other"
    route = _route(request)
    _REQUESTS.labels(method, route, f"{status // 100}xx").inc()
    _DURATION.labels(method, route).observe(latency_s)


def _route(request: HttpRequest) -> str:
    """The route's pattern, which has no ids in it. Never the path: anybody can make up any number of those."""
    match = request.resolver_match
    if match is None:
        return "unmatched"
    route = str(match.route)
    # The admin has a hundred routes that nobody graphs one by one.
    return "admin/" if route.startswith("admin/") else route

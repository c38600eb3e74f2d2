"""The ASGI handler of the API: Django with a middleware list of its own, all of it asynchronous.

Pages (the admin, static files) go through Django's usual handler and the usual MIDDLEWARE.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
API_PREFIXES = ("/api/", "/v1/", "/metrics")


class ApiHandler(ASGIHandler):
    def load_middleware(self, is_async: bool = False) -> None:
        """Django's own loader reads `settings.MIDDLEWARE`; it runs once, at import, before any request."""
        pages = settings.MIDDLEWARE
        settings.MIDDLEWARE = settings.API_MIDDLEWARE
        try:
            super().load_middleware(is_async=is_async)
        finally:
            settings.MIDDLEWARE = pages


class ApiOrPages:
    def __init__(self, *, api: App, pages: App) -> None:
        self.api = api
        self.pages = pages

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        is_api = scope["type"] == "http" and scope["path"].startswith(API_PREFIXES)
        await (self.api if is_api else self.pages)(scope, receive, send)

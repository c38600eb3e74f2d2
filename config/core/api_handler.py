"""The ASGI handler of the API: Django with a middleware list of its own, all of it asynchronous.

Pages (the admin, static files) go through Django's usual handler and the usual MIDDLEWARE.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import IO, Any

import structlog
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler

from config.core.body_limit import SpoolingFailed

log = structlog.get_logger(__name__)
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
API_PREFIXES = ("/api/", "/v1/", "/metrics")


class ApiHandler(ASGIHandler):
    async def read_body(self, receive: Receive) -> IO[bytes]:
        """As Django's, but what goes to the disk is written in a thread: the loop is for everybody.

        Raises: RequestAborted, SpoolingFailed.
        """
        body: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE)  # noqa: SIM115
        try:
            await _spool(receive, body)
        except OSError as error:
            body.close()
            log.error("body_not_kept", error=str(error))
            raise SpoolingFailed from error
        except BaseException:
            body.close()
            raise
        return body

    def load_middleware(self, is_async: bool = False) -> None:
        """Django's own loader reads `settings.MIDDLEWARE`; it runs once, at import, before any request."""
        pages = settings.MIDDLEWARE
        settings.MIDDLEWARE = settings.API_MIDDLEWARE
        try:
            super().load_middleware(is_async=is_async)
        finally:
            settings.MIDDLEWARE = pages


async def _spool(receive: Receive, body: IO[bytes]) -> None:
    read_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        piece = message.get("body", b"")
        read_bytes += len(piece)
        if read_bytes > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
            await asyncio.to_thread(body.write, piece)
        else:
            body.write(piece)
        if not message.get("more_body", False):
            body.seek(0)
            return


class ApiOrPages:
    def __init__(self, *, api: App, pages: App) -> None:
        self.api = api
        self.pages = pages

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        is_api = scope["type"] == "http" and scope["path"].startswith(API_PREFIXES)
        await (self.api if is_api else self.pages)(scope, receive, send)

"""Holds request bodies to 1 MB before Django spools them to disk. Uploads (multipart) have their own limit."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

from config.core.errors import RequestTooLarge
from config.core.middleware import request_id
from config.core.problems import PROBLEM_TYPE, domain_problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _TooLarge(Exception):
    pass


class BodyLimit:
    """A declared length is refused before a byte is read; an undeclared one as soon as it passes the limit."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] != "http" or headers.get(b"content-type", b"").startswith(b"multipart/"):
            await self.app(scope, receive, send)
            return
        limit = settings.JSON_BODY_MAX_BYTES
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            await _refuse(headers, send, limit)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise _TooLarge
            return message

        try:
            if b"transfer-encoding" in headers:
                scope, counted = await _declared(scope, counted)  # type: ignore[assignment]
            await self.app(scope, counted, send)
        except _TooLarge:
            # Django reads the whole body before it calls a view, so nothing has been answered yet.
            await _refuse(headers, send, limit)


async def _declared(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """The same request with its whole body in one message and its length in the headers.

    Django REST framework takes a body without a declared length for none: a turn would be made without its options.
    """
    body = bytearray()
    message: Message = {"more_body": True}
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
    else:
        message = {"type": "http.request", "body": bytes(body), "more_body": False}
    first = [message]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    replaced = {b"transfer-encoding", b"content-length"}
    kept = [(name, value) for name, value in scope["headers"] if name not in replaced]
    return {**scope, "headers": [*kept, (b"content-length", str(len(body)).encode())]}, replayed


async def _refuse(headers: dict[bytes, bytes], send: Send, limit: int) -> None:
    error = RequestTooLarge(f"A request body may have at most {limit} bytes.")
    body = json.dumps(domain_problem(error)).encode()
    id_ = request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
    answer_headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", id_.encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": answer_headers})
    await send({"type": "http.response.body", "body": body})

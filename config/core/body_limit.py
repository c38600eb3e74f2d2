"""Holds request bodies to 1 MB before Django spools them to disk, and uploads (multipart) to the size of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

from config.core.errors import DomainError, FileTooLarge, NoRoomForBody, RequestTooLarge
from config.core.middleware import request_id
from config.core.problems import PROBLEM_TYPE, domain_problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


# What an upload has around its file: boundaries, headers of the part, small fields.
ENVELOPE_MAX_BYTES = 65_536


_UPLOADS = re.compile(r"/api/v1/rooms/[^/]+/files")


class _TooLarge(Exception):
    pass


class SpoolingFailed(Exception):
    """The body could not be put down anywhere."""


class BodyLimit:
    """A declared length is refused before a byte is read; an undeclared one as soon as it passes the limit."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_upload = _is_upload(scope, headers)
        limit, refusal = _limit(is_upload=is_upload)
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            await _refuse(headers, send, refusal)
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
            # An upload is not gathered in memory; whoever reads one does not ask for its length.
            if b"transfer-encoding" in headers and not is_upload:
                scope, counted = await _declared(scope, counted)  # type: ignore[assignment]
            await self.app(scope, counted, send)
        except _TooLarge:
            # Django reads the whole body before it calls a view, so nothing has been answered yet.
            await _refuse(headers, send, refusal)
        except SpoolingFailed:
            await _refuse(headers, send, NoRoomForBody())


def _is_upload(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Only where a file is taken, and only of who shows a token: the body is on our disk before that is looked at."""
    return (
        headers.get(b"content-type", b"").lower().startswith(b"multipart/")
        and scope["method"] == "POST"
        and _UPLOADS.fullmatch(scope["path"]) is not None
        and b"authorization" in headers
    )


def _limit(*, is_upload: bool) -> tuple[int, DomainError]:
    if is_upload:
        limit_bytes: int = settings.FILE_MAX_BYTES
        return limit_bytes + ENVELOPE_MAX_BYTES, FileTooLarge(limit_bytes=limit_bytes)
    limit: int = settings.JSON_BODY_MAX_BYTES
    return limit, RequestTooLarge(f"A request body may have at most {limit} bytes.")


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


async def _refuse(headers: dict[bytes, bytes], send: Send, error: DomainError) -> None:
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

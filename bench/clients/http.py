"""A connection that costs next to nothing: what the client spends, the server on the other core does not get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

TIMEOUT_S = 60.0


class Connection(asyncio.Protocol):
    """One request after the other on one connection, kept open."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._on_data: Callable[[bytes], None] | None = None

    async def ask(self, request: bytes, on_data: Callable[[bytes], None] | None = None) -> tuple[int, bytes]:
        """Status and body. `on_data` gets each piece of the body as it comes, and the body is empty then."""
        self._answered = asyncio.get_running_loop().create_future()
        self._body, self._on_data = [], on_data
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        (self._on_data or self._body.append)(body)

    def on_message_complete(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result((self._parser.get_status_code(), b"".join(self._body)))


async def connect(address: str) -> Connection:
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or 80
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


def request(method: str, path: str, *, token: str = "", body: dict[str, Any] | None = None) -> bytes:
    """A whole request, made once and sent as often as it is needed."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*", f"Content-Length: {len(data)}"]
    if body is not None:
        lines.append("Content-Type: application/json")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data

"""Connections to providers: kept alive when an answer was read to its end, closed in every other case.

httpcore's own pool is used for one connection at a time, for two reasons. A request that is cancelled between its TCP
connect and its first byte leaves its slot, and an open socket, in that pool for ever (httpx 3782; 300 cancels here lost
2 to 11 slots). And it walks over all its connections whenever a request starts or ends, which grows with the square of
the idle ones. Here whoever takes a connection gives it back or closes it, and both take the same time for 1 and 1,000.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import httpx

OPEN_MAX = 2_000
IDLE_MAX = 256
IDLE_MAX_S = 15.0
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_MAX_S)

Origin = tuple[str, str, int | None]


class Connections(httpx.AsyncBaseTransport):
    """For one event loop. Each connection is an httpx transport that may open only one."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._idle: dict[Origin, deque[tuple[float, httpx.AsyncHTTPTransport]]] = {}
        self.open_count = 0

    @property
    def idle_count(self) -> int:
        return sum(map(len, self._idle.values()))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        origin = (request.url.scheme, request.url.host, request.url.port)
        connection = self._take(origin)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await self._close(connection)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for the type checker
        response.stream = _Body(response.stream, self, origin, connection)
        return response

    async def give_back(self, origin: Origin, connection: httpx.AsyncHTTPTransport, *, is_reusable: bool) -> None:
        if not is_reusable:
            await self._close(connection)
            return
        idle = self._idle.setdefault(origin, deque())
        idle.append((monotonic(), connection))
        # The one used last is taken first, so those that nobody needs grow old at the other end. Asked anew in each
        # round: while one is being closed, other calls take and give.
        while idle and (len(idle) > IDLE_MAX or idle[0][0] < monotonic() - IDLE_MAX_S):
            await self._close(idle.popleft()[1])

    async def aclose(self) -> None:
        """The idle ones; those in use are closed by their users."""
        idle = [connection for each in self._idle.values() for _, connection in each]
        self._idle.clear()
        for connection in idle:
            await self._close(connection)

    def _take(self, origin: Origin) -> httpx.AsyncHTTPTransport:
        idle = self._idle.get(origin)
        if idle:
            return idle.pop()[1]
        if self.open_count >= OPEN_MAX:
            raise httpx.PoolTimeout("all connections are in use")
        self.open_count += 1
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=_ONE)

    async def _close(self, connection: httpx.AsyncHTTPTransport) -> None:
        self.open_count -= 1
        await connection.aclose()


class _Body(httpx.AsyncByteStream):
    """An answer's bytes. Closing it is what gives the connection back."""

    def __init__(
        self,
        body: httpx.AsyncByteStream,
        connections: Connections,
        origin: Origin,
        connection: httpx.AsyncHTTPTransport,
    ) -> None:
        self._body = body
        self._connections = connections
        self._origin = origin
        self._connection = connection
        self._is_read_to_end = False
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._body:
            yield data
        self._is_read_to_end = True

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        is_reusable = False
        try:
            await self._body.aclose()
            is_reusable = self._is_read_to_end
        finally:
            await self._connections.give_back(self._origin, self._connection, is_reusable=is_reusable)


class ConnectionTrace:
    """What httpcore tells about the connection of one request, as its `trace` extension."""

    def __init__(self) -> None:
        self.is_reused = True
        self._socket: Any = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self.is_reused = False
        elif event == "connection.connect_tcp.complete":
            self._socket = info["return_value"]

    async def abandon(self) -> None:
        """Close what was being opened: httpcore forgets a socket that is cancelled during its TLS handshake."""
        if self._socket is not None:
            await self._socket.aclose()

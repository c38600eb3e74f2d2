"""The provider behind everything that is measured: it streams its answer at once, and counts who asked.

    python -m bench.servers.upstream        # prints its port

`/<caller>/v1/chat/completions` is OpenAI's API. A request whose last message has `(slowly)` in it is streamed slowly
instead: a chunk every PAUSE_S, each with the time at which it was sent, until `POST /release`. `GET /calls` says who
has asked how often. Bare protocols on uvloop, because an HTTP framework would cost more than what is measured in front
of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from typing import cast

import httptools
import uvloop

from config.core.open_files import raise_open_files_limit

SLOWLY = "(slowly)"
PAUSE_S = 2.0
WORDS = ("Every", " answer", " here", " is", " the", " same", ".")
USAGE = {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48}
# Around the time at which a chunk was sent, in nanoseconds of the machine's monotonic clock.
MARK = "@"


def _piece(delta: dict[str, str], finish: str | None = None, **more: object) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "bench", "choices": choices, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST = _chunk(_piece({}, "stop")) + _chunk(_piece({}, usage=USAGE)) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_AT_ONCE = _HEAD + b"".join(_chunk(_piece({"content": word})) for word in WORDS) + _LAST


def _json(body: object, status: bytes = b"200 OK") -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data)


_WHOLE = _json(
    {
        "id": "c", "object": "chat.completion", "created": 0, "model": "bench", "usage": USAGE,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}],
    }
)  # fmt: skip


class State:
    """What all connections share."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.released = asyncio.Event()


class Connection(asyncio.Protocol):
    """One client's connection; requests come one after the other."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._streaming: asyncio.Task[None] | None = None
        self._url, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._streaming is not None:
            self._streaming.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        path = self._url.decode()
        if path.endswith("/v1/chat/completions"):
            self._state.calls[path.split("/")[1]] += 1
            self._answer()
        elif path == "/calls":
            self._write(_json(self._state.calls))
        elif path == "/release":
            self._state.released.set()
            self._write(_json({}))
        else:
            self._write(_json({"error": {"message": "no such path"}}, b"404 Not Found"))

    def _answer(self) -> None:
        asked = json.loads(self._body)
        if not asked.get("stream"):
            self._write(_WHOLE)
        elif SLOWLY in asked["messages"][-1]["content"]:
            self._streaming = asyncio.get_running_loop().create_task(self._stream())
        else:
            self._write(_AT_ONCE)

    async def _stream(self) -> None:
        self._write(_HEAD)
        while not self._state.released.is_set():
            self._write(_chunk(_piece({"content": f"{MARK}{time.monotonic_ns()}{MARK}"})))
            try:
                await asyncio.wait_for(self._state.released.wait(), PAUSE_S)
            except TimeoutError:
                continue
        self._write(_LAST)

    def _write(self, data: bytes) -> None:
        self._transport.write(data)


async def serve() -> None:
    state = State()
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stopped.wait()
    # Connections that are still open would be waited for.
    os._exit(0)


if __name__ == "__main__":
    raise_open_files_limit()
    uvloop.run(serve())

"""An OpenAI-compatible provider on a real socket that does exactly what a script says, faults included.

In tests: `with ScriptedProvider(lambda body: Reply(chunks=("Hi",))) as provider: provider.base_url`.
As a process: `python -m sessions_app.tests.scripted_provider --port 8123 --text "Hi there." --delay 0.01`, or with
`--chunks 200` to answer each message with a text of its own.
It is written on bare asyncio, because an HTTP framework would tidy up the faults that it is for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import count
from types import TracebackType
from typing import Any

from sessions_app.tests.scripted_reply import (
    BEFORE_STATUS,
    DEFAULT_USAGE,
    MODELS_BODY,
    Reply,
    Step,
    content_type,
    steps,
)

__all__ = ["Exchange", "Reply", "ScriptedProvider"]

Script = Callable[[dict[str, Any]], Reply]
# So long that what was sent is read before an RST throws it away.
BEFORE_RESET_S = 0.05


@dataclass(slots=True)
class Exchange:
    """One request and what became of it. Times are `time.monotonic()`."""

    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    received_at: float = field(default_factory=time.monotonic)
    sent_text: str = ""
    sent_bytes: int = 0
    is_complete: bool = False
    client_closed_at: float | None = None


class _Connection:
    """Reads requests ahead while an answer is under way, because that is how the client's leaving is noticed."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.requests: asyncio.Queue[Exchange | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        self.writer = writer
        self._reader = reader

    async def read_requests(self) -> None:
        try:
            while True:
                self.requests.put_nowait(await self._read_request())
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed_at = time.monotonic()
            self.closed.set()
            self.requests.put_nowait(None)

    async def _read_request(self) -> Exchange:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        raw = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Exchange(self.number, method, path, headers, json.loads(raw) if raw else None)

    async def pause(self, seconds: float) -> bool:
        """Whether the client is still there afterwards."""
        if seconds > 0 and not self.closed.is_set():
            try:
                await asyncio.wait_for(self.closed.wait(), None if seconds == float("inf") else seconds)
            except TimeoutError:
                return True
        return not self.closed.is_set()

    def reset(self) -> None:
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class ScriptedProvider:
    """A server in a thread of its own. `script` may be replaced while it runs; `journal` keeps the requests.

    It can play several providers, each at a path of its own (`scripts` by name, `url_of(name)`). It has a tokenizer
    only where a test gives it one; those requests are in `tokenize_journal`, because every caller may probe for it.
    """

    def __init__(
        self, script: Script | None = None, *, port: int = 0, journal_max: int | None = None, at_once: int = 0
    ) -> None:
        self.script: Script = script or (lambda _body: Reply())
        self.scripts: dict[str, Script] = {}
        self.tokenizer: Script | None = None
        self.journal: deque[Exchange] = deque(maxlen=journal_max)
        self.tokenize_journal: deque[Exchange] = deque(maxlen=journal_max)
        self.errors: list[Exception] = []
        self.open_connections = 0
        self.port = port
        # No answer begins before so many are asked for.
        self._missing = at_once
        self._numbers = count(1)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._all_asked: asyncio.Event | None = None
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="scripted-provider", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def url_of(self, name: str) -> str:
        """The base URL of one of the providers in `scripts`."""
        return f"http://127.0.0.1:{self.port}/{name}/v1"

    def __enter__(self) -> ScriptedProvider:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answers under way are broken off. Harmless when repeated."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=5)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Whether the condition came true in time; the journal is written by another thread."""
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        return True

    def _run(self) -> None:
        try:
            asyncio.run(self._serve(None))
        except OSError as error:
            self._failure = error
            self._ready.set()

    async def _serve(self, announce: Callable[[], None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._all_asked = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        if announce is not None:
            announce()
        await self._stop.wait()
        # Open answers are broken off: `asyncio.run` cancels their tasks.
        server.close()

    def serve_forever(self, announce: Callable[[], None]) -> None:
        """In the caller's thread, until SIGTERM or SIGINT."""

        async def main() -> None:
            serving = asyncio.ensure_future(self._serve(announce))
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._set_stop)
            await serving

        asyncio.run(main())

    def _set_stop(self) -> None:
        if self._stop is not None:
            self._stop.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(next(self._numbers), reader, writer)
        self.open_connections += 1
        reading = asyncio.ensure_future(connection.read_requests())
        try:
            while (exchange := await connection.requests.get()) is not None:
                (self.tokenize_journal if exchange.path.endswith("/tokenize") else self.journal).append(exchange)
                if not await self._answer(connection, exchange):
                    break
        except (ConnectionError, asyncio.CancelledError):
            # The client has gone, or the server stops: nobody is left to tell.
            writer.transport.abort()
        finally:
            reading.cancel()
            self.open_connections -= 1
            writer.close()

    async def _answer(self, connection: _Connection, exchange: Exchange) -> bool:
        """Whether the connection is fit for another request."""
        reply = self._reply(exchange)
        await self._until_all_have_asked()
        try:
            if not await connection.pause(reply.first_delay_s):
                return False
            if reply.fault not in BEFORE_STATUS:
                connection.writer.write(_head(reply))
                if not await _send(connection, exchange, steps(reply, exchange.body or {})):
                    return False
            return await _finish(connection, exchange, reply)
        except ConnectionError:
            connection.closed_at = connection.closed_at or time.monotonic()
            return False
        finally:
            if not exchange.is_complete:
                exchange.client_closed_at = connection.closed_at

    async def _until_all_have_asked(self) -> None:
        assert self._all_asked is not None
        self._missing -= 1
        if self._missing <= 0:
            self._all_asked.set()
        await self._all_asked.wait()

    def _reply(self, exchange: Exchange) -> Reply:
        if exchange.path == "/v1/models":
            return Reply(raw=json.dumps(MODELS_BODY).encode(), as_json=True)
        script = self._script(exchange.path)
        if script is None:
            return Reply(status=404, error={"message": "no such path"})
        try:
            return script(exchange.body)
        except Exception as error:  # noqa: BLE001 - whatever a test's script raises is kept for the test to see
            self.errors.append(error)
            return Reply(status=500, error={"message": "the script failed"})

    def _script(self, path: str) -> Script | None:
        if path == "/v1/chat/completions":
            return self.script
        if path.endswith("/tokenize"):
            return self.tokenizer
        name, _, rest = path.removeprefix("/").partition("/")
        return self.scripts.get(name) if rest == "v1/chat/completions" else None


async def _send(connection: _Connection, exchange: Exchange, timed: Iterable[Step]) -> bool:
    """Whether the client took it all. Steps without a delay are written at once, each as its own HTTP chunk."""
    for step in timed:
        if step.delay_s and not await connection.pause(step.delay_s):
            return False
        if step.data:
            connection.writer.write(b"%x\r\n%b\r\n" % (len(step.data), step.data))
            exchange.sent_bytes += len(step.data)
            exchange.sent_text += step.text
        if exchange.sent_bytes > 65_536 or step.delay_s:
            await connection.writer.drain()
            if connection.closed.is_set():
                return False
    return True


async def _finish(connection: _Connection, exchange: Exchange, reply: Reply) -> bool:
    if reply.ending == "silence":
        await connection.writer.drain()
        return await connection.pause(float("inf"))
    if reply.ending == "reset":
        await connection.pause(BEFORE_RESET_S)
        connection.reset()
        return False
    if reply.ending == "close":
        return False
    connection.writer.write(b"0\r\n\r\n")
    exchange.is_complete = True
    await connection.writer.drain()
    return reply.headers.get("Connection") != "close"


def _head(reply: Reply) -> bytes:
    headers = {"Content-Type": content_type(reply), "Transfer-Encoding": "chunked", **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase if reply.status in _KNOWN else 'Scripted'}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_KNOWN = frozenset(status.value for status in HTTPStatus)


def numbered_chunks(message: str, chunk_count: int) -> tuple[str, ...]:
    """An answer that only this message gets: the message with a number, again and again."""
    return tuple(f"{message} {number}, " for number in range(chunk_count))


def _script_from_arguments(arguments: argparse.Namespace) -> Script:
    words = arguments.text.split(" ")
    chunks = tuple(word if index == 0 else f" {word}" for index, word in enumerate(words))
    reply = Reply(chunks=chunks, usage=arguments.usage, delay_s=arguments.delay, first_delay_s=arguments.first_delay)
    if not arguments.chunks:
        return lambda _body: reply
    return lambda body: replace(reply, chunks=numbered_chunks(body["messages"][-1]["content"], arguments.chunks))


def main() -> None:
    parser = argparse.ArgumentParser(description="An OpenAI-compatible provider that answers by script.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--text", default="Hello from the script.", help="the answer, one chunk a word")
    parser.add_argument("--chunks", type=int, help="instead: so many chunks of the user's message and a number")
    parser.add_argument("--at-once", type=int, default=0, help="answer nobody before so many have asked")
    parser.add_argument("--usage", type=json.loads, default=DEFAULT_USAGE, help="JSON, or null for none")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each further chunk")
    parser.add_argument("--first-delay", type=float, default=0.0, help="seconds before the first byte")
    arguments = parser.parse_args()
    script = _script_from_arguments(arguments)
    provider = ScriptedProvider(script, port=arguments.port, journal_max=0, at_once=arguments.at_once)
    provider.serve_forever(lambda: print(provider.base_url, flush=True))


if __name__ == "__main__":
    main()

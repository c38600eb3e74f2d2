"""A thousand open streams on one process: what each of them keeps in memory, and how late its chunks come."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, repeat
from operator import attrgetter
from pathlib import Path

import uvloop
from tqdm import tqdm

from bench import seats
from bench.alternating import alternate
from bench.benches.turns import BARE, MESSAGE, completion_request, turn_requests
from bench.clients import load
from bench.clients.http import connect, request
from bench.options import Options
from bench.results import Row, p99
from bench.seats import Seat
from bench.servers.process import Server
from bench.servers.upstream import MARK, PAUSE_S, SLOWLY
from bench.servers.upstreams import Upstreams
from bench.servers.web import running_webs
from config.embedded.errors import EmbeddedError

MEMORY, LATENCY = "streams_memory", "streams_chunk_p99"
AGAINST = "the bare upstream"
SEATS_PER_USER = 10
# So many are opened at once: each needs one of the process's database connections for a moment.
OPENED_AT_ONCE = 16
OPEN_TIMEOUT_S = 120.0
# All are open for so long before anything is counted, and then for so long while it is.
WINDOW_S = 3 * PAUSE_S
ROUNDS_MAX = 2
_MARKS = re.compile(rf"{MARK}(\d{{6,20}}){MARK}".encode())
SLOW_MESSAGE = f"{MESSAGE} {SLOWLY}"


@dataclass(frozen=True, slots=True)
class Watched:
    """One run: growth of the process by stream, and the 99th percentile of the delays."""

    kb_per_stream: float
    chunk_p99_ms: float


@dataclass(slots=True)
class Stream:
    """What one client sees of one stream."""

    delays_ms: list[float] = field(default_factory=list)
    first_seen: asyncio.Event = field(default_factory=asyncio.Event)
    counts: bool = False
    _rest: bytes = b""

    def take(self, data: bytes) -> None:
        """A mark that is cut by the end of a piece is found with the next one."""
        now_ns = time.monotonic_ns()
        data = self._rest + data
        end = 0
        for mark in _MARKS.finditer(data):
            end = mark.end()
            if self.counts:
                self.delays_ms.append((now_ns - int(mark.group(1))) / 1e6)
        if end:
            self.first_seen.set()
        self._rest = data[max(end, len(data) - 32) :]


def measure(options: Options, folder: Path, upstreams: Upstreams) -> list[Row]:
    places = seats.make(users=-(-options.streams // SEATS_PER_USER), sessions=SEATS_PER_USER, name="streams")
    places = places[: options.streams]
    runs = alternate(
        "streams",
        min(options.rounds, ROUNDS_MAX),
        {"ours": lambda: _ours(places, folder, upstreams), "upstream": lambda: _bare(len(places), upstreams)},
    )
    return [
        Row(name, unit, [value(run) for run in runs["ours"]], [value(run) for run in runs["upstream"]], AGAINST)
        for name, unit, value in (
            (MEMORY, "kB/stream", attrgetter("kb_per_stream")),
            (LATENCY, "ms", attrgetter("chunk_p99_ms")),
        )
    ]


def _ours(places: Sequence[Seat], folder: Path, upstreams: Upstreams) -> Watched:
    """In a new process, so that no memory of an earlier run is used again; warm, so that only streams make it grow."""
    with upstreams.running() as upstream, running_webs(1, folder, upstream=upstream.address) as (web,):
        load.run([web.address], cycle(turn_requests(places)), clients=16, seconds=3.0)
        return watch(web, turn_requests(places, SLOW_MESSAGE, ending="/stream"), upstream)


def _bare(count: int, upstreams: Upstreams) -> Watched:
    with upstreams.running() as upstream:
        slow = completion_request(f"/{BARE}", is_streamed=True, message=SLOW_MESSAGE)
        load.run([upstream.address], repeat(completion_request(f"/{BARE}")), clients=16, seconds=1.0)
        return watch(upstream, [slow] * count, upstream)


def watch(server: Server, requests: Sequence[bytes], upstream: Server) -> Watched:
    """Open all streams, and once all are open measure for a while."""
    return uvloop.run(_watch(server, requests, upstream))


async def _watch(server: Server, requests: Sequence[bytes], upstream: Server) -> Watched:
    before_kb = server.resident_kb
    streams = [Stream() for _ in requests]
    door = asyncio.Semaphore(OPENED_AT_ONCE)
    with tqdm(total=len(requests), desc="streams opened", unit="", leave=False) as bar:
        watching = [
            asyncio.create_task(_stream(server.address, asked, stream, door, bar.update))
            for asked, stream in zip(requests, streams, strict=True)
        ]
        try:
            await _until_all_are_open(streams, watching)
            for stream in streams:
                stream.counts = True
            await asyncio.sleep(WINDOW_S)
            for stream in streams:
                stream.counts = False
            open_kb = server.resident_kb
            await (await connect(upstream.address)).ask(request("POST", "/release"))
            await asyncio.gather(*watching)
        finally:
            for task in watching:
                task.cancel()
    delays_ms = [delay for stream in streams for delay in stream.delays_ms]
    return Watched((open_kb - before_kb) / len(streams), p99(delays_ms))


async def _until_all_are_open(streams: Sequence[Stream], watching: Sequence[asyncio.Task[None]]) -> None:
    """Raises: what came in the way of the first stream that did not open."""
    async with asyncio.timeout(OPEN_TIMEOUT_S):
        for stream in streams:
            await stream.first_seen.wait()
    for task in watching:
        if task.done():
            task.result()
            raise EmbeddedError("a stream ended before all were open")


async def _stream(
    address: str, asked: bytes, stream: Stream, door: asyncio.Semaphore, opened: Callable[[], object]
) -> None:
    async with door:
        connection = await connect(address)
        answer = asyncio.create_task(connection.ask(asked, stream.take))
        answer.add_done_callback(lambda _: stream.first_seen.set())
        await stream.first_seen.wait()
        opened()
    status, _ = await answer
    connection.close()
    if status != 200:
        raise EmbeddedError(f"a stream was answered {status}")

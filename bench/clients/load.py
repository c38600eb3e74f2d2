"""Many clients at once, each with its next request as soon as the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import uvloop

from bench.clients.http import TIMEOUT_S, Connection, connect
from config.embedded.errors import EmbeddedError


@dataclass(slots=True)
class Load:
    """What came of a run: how long each answer took, and what was answered otherwise than asked for."""

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    surprises: Counter[str] = field(default_factory=Counter)

    @property
    def per_s(self) -> float:
        return len(self.latencies_ms) / self.seconds


def run(addresses: Sequence[str], requests: Iterator[bytes], *, clients: int, seconds: float) -> Load:
    """Whoever is answered takes the next of the requests, which never end; addresses are shared out among the clients.

    The clock stops with the last answer, so each one that is counted was waited for. Raises: EmbeddedError for any
    answer that is no success: a server that refuses is fast.
    """
    return checked(uvloop.run(ask_all(addresses, requests, clients, seconds)))


def checked(load: Load) -> Load:
    if load.surprises:
        raise EmbeddedError(f"not every request was answered as it should: {dict(load.surprises.most_common(3))}")
    return load


async def ask_all(addresses: Sequence[str], requests: Iterator[bytes], clients: int, seconds: float) -> Load:
    connections = [await connect(addresses[number % len(addresses)]) for number in range(clients)]
    load = Load(0.0)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(_ask_again_and_again(connection, requests, load, began + seconds))
    load.seconds = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return load


async def _ask_again_and_again(connection: Connection, requests: Iterator[bytes], load: Load, until: float) -> None:
    while (asked_at := time.perf_counter()) < until:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, body = await connection.ask(next(requests))
        except TimeoutError:
            load.surprises[f"no answer within {TIMEOUT_S:.0f} s"] += 1
            return
        except ConnectionError as error:
            load.surprises[str(error)] += 1
            return
        if 200 <= status < 300:
            load.latencies_ms.append((time.perf_counter() - asked_at) * 1_000)
        else:
            load.surprises[f"{status} {body[:200].decode(errors='replace')}"] += 1
            return

"""How long it takes from saving a price in one process until each of four serves it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import uvloop
from tqdm import trange

from bench.clients.http import Connection, connect, request
from bench.options import Options
from bench.results import Row, p99
from bench.servers.upstreams import Upstreams
from bench.servers.web import running_webs
from config.embedded.errors import EmbeddedError

NAME = "price_reload_p99"
PROCESSES = 4
ALIAS, MULTIPLIERS = "gemini-pro", ("1.2000", "1.3000")
# Between two questions to a process, so that asking does not take its time.
POLL_S = 0.002
TIMEOUT_S = 30.0
_HEALTH = request("GET", "/api/v1/health")


def measure(options: Options, folder: Path, upstreams: Upstreams) -> list[Row]:
    with upstreams.running() as upstream, running_webs(PROCESSES, folder, upstream=upstream.address) as webs:
        delays_ms = uvloop.run(_save_again_and_again([web.address for web in webs], _staff_token(), options.saves))
    return [Row(NAME, "ms", delays_ms, summed_up=p99)]


def _staff_token() -> str:
    from knox.models import AuthToken

    from users.models import User

    _, token = AuthToken.objects.create(User.objects.create_superuser(email="staff@example.com"))
    return str(token)


async def _save_again_and_again(addresses: list[str], token: str, saves: int) -> list[float]:
    saver = await connect(addresses[0])
    readers = [await connect(address) for address in addresses]
    changes = [
        request("PATCH", f"/api/v1/admin/pricing/{ALIAS}", token=token, body={"multiplier": multiplier})
        for multiplier in reversed(MULTIPLIERS)
    ]
    delays_ms = []
    for number in trange(saves, desc=NAME, unit=" saves"):
        served = await _revision(saver)
        began = time.perf_counter()
        async with asyncio.timeout(TIMEOUT_S):
            reading = (_until_served(reader, served + 1) for reader in readers)
            await asyncio.gather(_save(saver, changes[number % 2]), *reading)
        delays_ms.append((time.perf_counter() - began) * 1_000)
    return delays_ms


async def _save(connection: Connection, change: bytes) -> None:
    status, body = await connection.ask(change)
    if status != 200:
        raise EmbeddedError(f"saving a price was answered {status}: {body.decode(errors='replace')}")


async def _until_served(connection: Connection, revision: int) -> None:
    while await _revision(connection) < revision:  # noqa: ASYNC110 - another process cannot set an event of ours
        await asyncio.sleep(POLL_S)


async def _revision(connection: Connection) -> int:
    """The revision of the price list that this process serves."""
    _, body = await connection.ask(_HEALTH)
    return int(json.loads(body)["checks"]["pricing"]["revision"])

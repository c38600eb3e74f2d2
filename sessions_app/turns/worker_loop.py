"""Turns in a worker: one event loop in a thread of its own, in which all turns of the process run.

The worker's threads only wait for their turn, so that the broker keeps its message until the turn has ended.
"""

from __future__ import annotations

import asyncio
import threading
from functools import cache
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections

from sessions_app.turns.mirror import mirror
from sessions_app.turns.outcome import INTERRUPTED
from sessions_app.turns.queueing import take
from sessions_app.turns.registry import registry
from sessions_app.turns.turn import OpenedTurn

_MIRROR_DRAIN_S = 1.0
_starting = threading.Lock()
_stopping = threading.Event()


def run_queued(turn_id: UUID) -> None:
    """Claim a queued turn and wait until it has ended. Returns at once where there is nothing to run."""
    if _stopping.is_set():
        # A message that was fetched before the worker was stopped. The turn stays queued: another worker is told of it.
        return
    try:
        opened = take(turn_id)
    finally:
        # Not kept while it waits: as many turns as the pool has connections would leave none to settle with.
        close_old_connections()
    if opened is not None:
        asyncio.run_coroutine_threadsafe(_run(opened), _loop()).result()


def drain() -> None:
    """Let running turns end within DRAIN_TIMEOUT_S; what takes longer is stopped, billed and kept."""
    _stopping.set()
    asyncio.run_coroutine_threadsafe(_drain(), _loop()).result()


async def _run(opened: OpenedTurn) -> None:
    run = registry().start(opened)
    assert run.task is not None  # noqa: S101 - started
    if registry().draining:
        # Claimed in the moment in which draining began, which may not know of it and would not stop it.
        run.stop(INTERRUPTED)
    # Not awaited itself: a worker that is stopped must not cancel the settlement.
    await asyncio.wait({run.task})


async def _drain() -> None:
    await registry().drain(settings.DRAIN_TIMEOUT_S)
    await registry().aclose()
    await mirror().drain(_MIRROR_DRAIN_S)


def _loop() -> asyncio.AbstractEventLoop:
    # One at a time: of two first turns each would start a loop, and draining would know only one of them.
    with _starting:
        return _running_loop()


@cache
def _running_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="turns", daemon=True).start()
    return loop

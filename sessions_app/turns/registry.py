"""The turns that this process runs: held strongly, their leases renewed together, drained before the process ends."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings

from billing import ledger
from config.core.errors import ShuttingDown
from config.core.transactions import DATABASE_ERRORS, in_thread
from sessions_app.turns import rows
from sessions_app.turns.cancel_channel import hear_cancels
from sessions_app.turns.mirror import mirror
from sessions_app.turns.outcome import BROKEN, CANCELLED, INTERRUPTED
from sessions_app.turns.running import TurnRun
from sessions_app.turns.turn import OpenedTurn

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Registry:
    """One per event loop.

    An asyncio task is only held weakly by its loop, so the set here is what keeps turns alive.
    """

    def __init__(self) -> None:
        self.runs: dict[UUID, TurnRun] = {}
        self.draining = False
        self._kept: set[asyncio.Task[Any]] = set()
        self._heart: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None

    def admit(self) -> None:
        """Raises: ShuttingDown once draining has begun."""
        if self.draining:
            raise ShuttingDown

    def start(self, turn: OpenedTurn) -> TurnRun:
        run = TurnRun(turn)
        self.runs[turn.id] = run
        mirror().follow(run.events)
        run.task = asyncio.create_task(run.run(), name=f"turn {turn.id}")
        run.task.add_done_callback(partial(self._ended, turn.id))
        if self._heart is None or self._heart.done():
            self._heart = asyncio.create_task(self._beat(), name="turn heartbeat")
        if self._hearing is None or self._hearing.done():
            self._hearing = asyncio.create_task(hear_cancels(self._cancel), name="cancels")
        return run

    def _cancel(self, turn_id: UUID) -> None:
        run = self.runs.get(turn_id)
        if run is not None:
            run.stop(CANCELLED)

    async def aclose(self) -> None:
        """Listen no more. For shutdown, after draining."""
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait({self._hearing}, timeout=1)

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something that must come to its end whoever stops waiting for it; draining waits for it, too."""
        task = asyncio.ensure_future(work)
        self._kept.add(task)
        task.add_done_callback(self._let_go)
        return task

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self._kept.discard(task)
        if not task.cancelled():
            # Looked at, so that a refusal nobody waits for any more is not reported as an error of the loop.
            task.exception()

    def find(self, turn_id: UUID) -> TurnRun | None:
        return self.runs.get(turn_id)

    async def drain(self, timeout_s: float) -> None:
        """Admit nothing more and let the running turns end; those that take too long are stopped, billed and kept."""
        self.draining = True
        if self._kept:
            await asyncio.wait(set(self._kept), timeout=timeout_s)
        tasks = [run.task for run in self.runs.values() if run.task]
        if not tasks:
            return
        log.info("draining", turns=len(tasks), timeout_s=timeout_s)
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for run in list(self.runs.values()):
            run.stop(INTERRUPTED)
        if late:
            await asyncio.wait(late, timeout=settings.LLM_CONNECT_TIMEOUT_S + 5)

    def _ended(self, turn_id: UUID, task: asyncio.Task[None]) -> None:
        run = self.runs.pop(turn_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The sweeper will end this turn; what its run knew and the journal did not is lost, so say it loudly.
            log.error("turn_run_died", turn_id=str(turn_id), exc_info=error)
        if run is not None:
            # Nothing follows a terminal event, so this speaks only where the run died without one.
            run.events.emit("error", {"code": BROKEN, "detail": "The turn could not be settled yet."})

    async def _beat(self) -> None:
        """Renew all leases three times per lease. A turn that is no longer ours finds out at its next fence."""
        while self.runs:
            started = time.monotonic()
            mine = [(run.turn.id, run.turn.lease_claim) for run in self.runs.values()]
            try:
                unwanted = await in_thread(partial(self._renew, mine), lane="leases")
            except DATABASE_ERRORS as error:
                log.warning("leases_not_renewed", turns=len(mine), error=str(error))
                # Again as soon as the database may be back, lest these turns be taken for dead.
                await asyncio.sleep(0.5)
                continue
            for turn_id in unwanted:
                self._cancel(turn_id)
            await asyncio.sleep(max(0.1, settings.TURN_LEASE_S / 3 - (time.monotonic() - started)))

    def _renew(self, mine: list[tuple[UUID, UUID]]) -> list[UUID]:
        """The turns whose owners want them to end."""
        ours = rows.renew_leases(mine)
        ledger.renew_holds(reference_type="turn", reference_ids=[turn_id for turn_id, _ in mine])
        return [turn_id for turn_id, is_unwanted in ours.items() if is_unwanted]


_registries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = weakref.WeakKeyDictionary()


def registry() -> Registry:
    """The registry of the running event loop."""
    return _registries.setdefault(asyncio.get_running_loop(), Registry())

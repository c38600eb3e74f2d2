"""Turns that run elsewhere, watched here: copies of their event logs, fed from Redis by one reader for all of them.

A copy ends with the turn, whatever Redis does: that is asked of the database. What Redis has lost by then is told as
the stored turn tells it.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import structlog

from config.core.transactions import DATABASE_ERRORS, in_thread
from sessions_app.models import Turn
from sessions_app.turns.event_log import TERMINAL, EventLog, TurnEvent
from sessions_app.turns.event_store import STORE_ERRORS, event_store
from sessions_app.turns.replaying import stored_events

log = structlog.get_logger(__name__)
_BLOCK_MS = 200
_LOOK_EVERY_S = 1.0
# The terminal event follows its commit within milliseconds; so much later it will not come any more.
GRACE_S = 2.0
EVENTS_LOST = "events_lost"


class Replica:
    """A copy of one turn's log. `is_whole` is False once something of it was missed."""

    def __init__(self, turn_id: UUID) -> None:
        self.log = EventLog(turn_id)
        self.viewers = 0
        self.is_whole = True
        self.ended_at: float | None = None

    def take(self, events: Sequence[TurnEvent]) -> None:
        for event in events:
            if self.log.ended:
                return
            if not self.log.adopt(event):
                self.is_whole = False

    def end(self, turn: Turn) -> None:
        """End the copy as the stored turn says, with everything where it has nothing yet."""
        for event in missing_events(turn, self.log.events, is_whole=self.is_whole):
            self.log.adopt(event)


class Replicas:
    """For one event loop."""

    def __init__(self) -> None:
        self._replicas: dict[UUID, Replica] = {}
        self._task: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._is_leaving = False

    async def watch(self, turn_id: UUID, after: int) -> AsyncIterator[TurnEvent]:
        """The events of a turn that another process runs, past `after`, as they come; ends with the terminal one."""
        if self._is_leaving:
            return
        replica = self._replicas.setdefault(turn_id, Replica(turn_id))
        replica.viewers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow(), name="event replicas")
        try:
            async for event in replica.log.watch(after):
                yield event
        finally:
            replica.viewers -= 1
            if replica.viewers == 0:
                self._replicas.pop(turn_id, None)

    def leave(self) -> None:
        """Let all viewers go: the process is about to end, and the turns that they watch are not its own."""
        self._is_leaving = True
        for replica in self._replicas.values():
            replica.log.abandon()

    async def _follow(self) -> None:
        while self._replicas:
            followed = {id_: replica for id_, replica in self._replicas.items() if not replica.log.ended}
            if not followed:
                await asyncio.sleep(_BLOCK_MS / 1000)
                continue
            is_away = not await self._read(followed)
            if is_away or time.monotonic() - self._looked_at > _LOOK_EVERY_S:
                await self._look(followed, is_away=is_away)

    async def _read(self, followed: dict[UUID, Replica]) -> bool:
        """Whether Redis answered."""
        positions = {id_: len(replica.log.events) for id_, replica in followed.items() if replica.is_whole}
        if not positions:
            await asyncio.sleep(_BLOCK_MS / 1000)
            return True
        try:
            found = await event_store().read(positions, block_ms=_BLOCK_MS)
        except STORE_ERRORS:
            await asyncio.sleep(_BLOCK_MS / 1000)
            return False
        for turn_id, events in found.items():
            followed[turn_id].take(events)
        return True

    async def _look(self, followed: dict[UUID, Replica], *, is_away: bool) -> None:
        """Whether turns have ended whose terminal event did not come: their process died, or Redis is away."""
        self._looked_at = now = time.monotonic()
        ids = [id_ for id_, replica in followed.items() if not replica.log.ended]
        try:
            ended = await in_thread(lambda: list(Turn.objects.filter(id__in=ids, finished_at__isnull=False)))
            for turn in ended:
                replica = followed[turn.id]
                replica.ended_at = replica.ended_at or now
                if is_away and replica.log.events:
                    replica.is_whole = False
                if is_away or now - replica.ended_at > GRACE_S:
                    await in_thread(lambda replica=replica, turn=turn: replica.end(turn))  # type: ignore[misc]
        except DATABASE_ERRORS:
            # Without a database nobody knows; it is asked again.
            return


_all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Replicas] = weakref.WeakKeyDictionary()


def replicas() -> Replicas:
    """The replicas of the running event loop."""
    return _all.setdefault(asyncio.get_running_loop(), Replicas())


def missing_events(turn: Turn, have: Sequence[TurnEvent], *, is_whole: bool) -> list[TurnEvent]:
    """What an ended turn's log lacks: all of it, or its end, after a word on what was lost on the way."""
    if have and have[-1].name in TERMINAL:
        return []
    stored = stored_events(turn)
    if not have:
        return stored
    rest = [("warning", {"code": EVENTS_LOST, "detail": "Events were lost on the way; GET /turns/{id} has the texts."})]
    end = stored[-1]
    tail = ([] if is_whole else rest) + [(end.name, end.data)]
    numbered = enumerate(tail, start=len(have) + 1)
    return [TurnEvent(seq, name, {**data, "turn_id": str(turn.id), "seq": seq}) for seq, (name, data) in numbered]

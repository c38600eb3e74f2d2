"""What this process's turns say, passed on to Redis for viewers elsewhere. It never holds a turn up.

The whole log of a running turn is in memory, so nothing is lost while Redis is away or after it came back empty: the
mirror starts each log anew then. Only a turn that ends while Redis is away for long is not passed on.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from dataclasses import dataclass
from uuid import UUID

import structlog

from sessions_app.turns.event_log import EventLog, TurnEvent
from sessions_app.turns.event_store import STORE_ERRORS, event_store

log = structlog.get_logger(__name__)
# How long an ended log waits for a Redis that is away.
_GIVE_UP_S = 60.0
_LONGEST_BACKOFF_S = 5.0
# A round trip. After Redis was away the logs of all turns go again; to encode them at once would stop the loop for
# seconds.
_EVENTS_AT_ONCE = 1_000


@dataclass(slots=True)
class _Mirrored:
    log: EventLog
    sent: int = 0
    ended_at: float | None = None


class Mirror:
    """For one event loop: one task for all its turns, one round trip for whatever has come since the last."""

    def __init__(self) -> None:
        self._logs: dict[UUID, _Mirrored] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    def follow(self, events: EventLog) -> None:
        """Pass on everything this log has and will have, until its terminal event is passed on."""
        self._logs[events.turn_id] = _Mirrored(events)
        events.on_event = self._news.set
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._pass_on(), name="event mirror")

    def find(self, turn_id: UUID) -> EventLog | None:
        """A log that has not been passed on to its end yet."""
        mirrored = self._logs.get(turn_id)
        return mirrored.log if mirrored else None

    async def drain(self, timeout_s: float) -> None:
        """Let the last events get through, as far as Redis takes them now."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=timeout_s)

    async def _pass_on(self) -> None:
        while self._logs:
            await self._news.wait()
            self._news.clear()
            try:
                await self._send()
            except STORE_ERRORS as error:
                await self._wait_for_the_store(error)
            else:
                self._say_it_is_back()

    async def _send(self) -> None:
        batch = self._next_batch()
        if batch:
            # There may be more, which nobody tells of again.
            self._news.set()
            await event_store().append(batch)
        for turn_id, events in batch.items():
            mirrored = self._logs[turn_id]
            mirrored.sent += len(events)
            if mirrored.log.ended and mirrored.sent == len(mirrored.log.events):
                del self._logs[turn_id]

    def _next_batch(self) -> dict[UUID, list[TurnEvent]]:
        batch: dict[UUID, list[TurnEvent]] = {}
        room = _EVENTS_AT_ONCE
        for turn_id, each in self._logs.items():
            events = each.log.events[each.sent : each.sent + room]
            if events:
                batch[turn_id] = events
                room -= len(events)
            if not room:
                break
        return batch

    async def _wait_for_the_store(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning("event_mirror_lost", error=str(error))
        now = time.monotonic()
        for turn_id, mirrored in list(self._logs.items()):
            # It may come back empty.
            mirrored.sent = 0
            if mirrored.log.ended:
                mirrored.ended_at = mirrored.ended_at or now
                if now - mirrored.ended_at > _GIVE_UP_S:
                    del self._logs[turn_id]
        await asyncio.sleep(min(_LONGEST_BACKOFF_S, 0.1 * 2 ** min(self._failures, 10)))
        self._news.set()

    def _say_it_is_back(self) -> None:
        if self._failures:
            log.info("event_mirror_regained", failed_attempts=self._failures)
        self._failures = 0


_mirrors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mirror] = weakref.WeakKeyDictionary()


def mirror() -> Mirror:
    """The mirror of the running event loop."""
    return _mirrors.setdefault(asyncio.get_running_loop(), Mirror())

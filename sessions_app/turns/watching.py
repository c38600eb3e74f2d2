"""Watching a turn, wherever it runs and whether it has ended: one log, from any number on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from config.core.transactions import in_thread
from sessions_app.errors import EventsExpired
from sessions_app.models import Turn, TurnStep
from sessions_app.turns.event_log import EventLog, TurnEvent
from sessions_app.turns.event_store import STORE_ERRORS, event_store
from sessions_app.turns.mirror import mirror
from sessions_app.turns.registry import registry
from sessions_app.turns.replaying import stored_events
from sessions_app.turns.replicas import GRACE_S, missing_events, replicas


async def watch(turn: Turn, *, after: int) -> AsyncIterator[TurnEvent] | None:
    """The events past `after`, as they come. None where the turn has ended and there are none.

    Raises: EventsExpired, where the turn ended too long ago, or its log was lost and the caller has read a part of it.
    """
    here = local_log(turn.id)
    if here is not None:
        return None if here.ended and after >= len(here.events) else here.watch(after)
    if turn.finished_at is None:
        return replicas().watch(turn.id, after)
    ended_since = timezone.now() - turn.finished_at
    if ended_since > timedelta(seconds=settings.EVENTS_TTL_S):
        raise EventsExpired
    log, is_whole = await kept_log(turn.id)
    if not log.ended:
        if log.events and ended_since < timedelta(seconds=GRACE_S):
            # Its last events are still on their way.
            return replicas().watch(turn.id, after)
        was_run = bool(log.events) or await in_thread(lambda: _was_run(turn))
        if not log.events and after > 0 and was_run:
            # The stored turn tells other events than those that were read before.
            raise EventsExpired
        for event in await in_thread(lambda: missing_events(turn, log.events, is_whole=is_whole)):
            log.adopt(event)
        if after > len(log.events) and was_run:
            # More was read than is left, and not the end, which is told anew here.
            raise EventsExpired
    return None if after >= len(log.events) else log.watch(after)


async def replay(turn: Turn) -> AsyncIterator[TurnEvent]:
    """The events of a turn from the first on, for a request that is made again: never too late for it."""
    try:
        events = await watch(turn, after=0)
    except EventsExpired:
        events = None
    if events is not None:
        return events
    log = EventLog(turn.id)
    for event in await in_thread(lambda: stored_events(turn)):
        log.adopt(event)
    return log.watch()


def local_log(turn_id: UUID) -> EventLog | None:
    """The log of a turn that runs in this process, or did until a moment ago."""
    run = registry().find(turn_id)
    return run.events if run is not None else mirror().find(turn_id)


def _was_run(turn: Turn) -> bool:
    """Whether the turn made a call. One that ended in the queue was never told of but by its stored rows."""
    return TurnStep.objects.filter(turn_id=turn.id, call__isnull=False).exists()


async def kept_log(turn_id: UUID) -> tuple[EventLog, bool]:
    """What Redis has of a turn's log, and whether it has no gap. Empty while Redis is away."""
    log = EventLog(turn_id)
    try:
        found = await event_store().read({turn_id: 0})
    except STORE_ERRORS:
        found = {}
    return log, all(log.adopt(event) for event in found.get(turn_id, []))

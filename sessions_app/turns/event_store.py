"""The events of turns in Redis Streams, so that a turn can be watched from any web process.

One stream a turn; an entry's id is its event's number, so what is written twice is there once, and a reader goes on
from any number. Entries of all turns of a process travel together: a round trip of its own for each would cost more
than the event. No turn needs this to run or to be billed.
"""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from sessions_app.turns.event_log import TERMINAL, TurnEvent

# What a store that is away raises.
STORE_ERRORS = (RedisError, OSError, TimeoutError)
_SOCKET_TIMEOUT_S = 2.0
# Beyond the longest turn, so that no stream ends before its turn.
_RUNNING_MARGIN_S = 3_600


class EventStore:
    """For one event loop. Raises STORE_ERRORS while Redis is away."""

    def __init__(self) -> None:
        self._redis: Redis = Redis.from_url(
            settings.REDIS_URL,
            decode_responses=True,
            socket_timeout=_SOCKET_TIMEOUT_S,
            socket_connect_timeout=_SOCKET_TIMEOUT_S,
        )

    async def append(self, batch: Mapping[UUID, Sequence[TurnEvent]]) -> None:
        """Write events, each turn's in order. Idempotent: those that are there already are left as they are."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for turn_id, events in batch.items():
                for event in events:
                    pipeline.xadd(_key(turn_id), _fields(event), id=f"{event.seq}-0")
                if events[-1].name in TERMINAL:
                    pipeline.expire(_key(turn_id), settings.EVENTS_TTL_S)
                elif events[0].seq == 1:
                    longest_s = settings.TURN_TIMEOUT_S + _RUNNING_MARGIN_S
                    pipeline.expire(_key(turn_id), max(settings.EVENTS_TTL_S, longest_s))
            answers = await pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not _is_there_already(answer):
                raise answer

    async def read(self, after: Mapping[UUID, int], *, block_ms: int | None = None) -> dict[UUID, list[TurnEvent]]:
        """The events of these turns past these numbers. With `block_ms` it waits so long where there are none."""
        if not after:
            return {}
        turns = {_key(turn_id): turn_id for turn_id in after}
        positions: dict[Any, Any] = {key: f"{after[turn_id]}-0" for key, turn_id in turns.items()}
        found: Any = await self._redis.xread(positions, block=block_ms)
        return {turns[key]: [_event(entry) for entry in entries] for key, entries in found}

    async def forget(self, turn_ids: Sequence[UUID]) -> None:
        """Take these turns' events away before their time."""
        if turn_ids:
            await self._redis.unlink(*[_key(turn_id) for turn_id in turn_ids])

    async def aclose(self) -> None:
        await self._redis.aclose()


_stores: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, EventStore] = weakref.WeakKeyDictionary()


def event_store() -> EventStore:
    """The store of the running event loop."""
    return _stores.setdefault(asyncio.get_running_loop(), EventStore())


def _key(turn_id: UUID) -> str:
    return f"tallyroom:turn:{turn_id}:events"


def _event(entry: tuple[str, dict[str, str]]) -> TurnEvent:
    entry_id, fields = entry
    return TurnEvent(int(entry_id.partition("-")[0]), fields["name"], json.loads(fields["data"]))


def _fields(event: TurnEvent) -> dict[Any, Any]:
    # As the event is sent to a viewer: what has no UTF-8 form does not get there either.
    data = json.dumps(event.data, ensure_ascii=False).encode("utf-8", "replace")
    return {"name": event.name, "data": data}


def _is_there_already(answer: Exception) -> bool:
    return isinstance(answer, ResponseError) and "equal or smaller" in str(answer)

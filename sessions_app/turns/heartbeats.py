"""Comment lines that keep a silent event stream open through proxies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sessions_app.turns.event_log import TurnEvent

HEARTBEAT_S = 15
# One line and no empty one after it, at which some readers (httpx-sse) would hand out the last event's id once more.
HEARTBEAT = b": keep-alive\n"


async def with_heartbeats(events: AsyncIterator[TurnEvent], *, every_s: float = HEARTBEAT_S) -> AsyncIterator[bytes]:
    """The events as bytes, with a comment line after every `every_s` of silence."""
    iterator = aiter(events)
    waiting: asyncio.Future[TurnEvent] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(iterator))
            done, _ = await asyncio.wait({waiting}, timeout=every_s)
            if not done:
                yield HEARTBEAT
                continue
            try:
                event = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield event.encode()
    finally:
        # The viewer went away: stop watching. The turn itself does not notice.
        if waiting is not None:
            waiting.cancel()

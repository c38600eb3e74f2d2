"""Comment lines that keep a silent event stream open through proxies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sessions_app.turns.event_log import TurnEvent

HEARTBEAT_S = 15


async def with_heartbeats(events: AsyncIterator[TurnEvent], *, every_s: float = HEARTBEAT_S) -> AsyncIterator[bytes]:
    """The events as bytes, with a comment line after every `every_s` of silence."""
    iterator = aiter(events)
    waiting: asyncio.Future[TurnEvent] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(iterator))
            done, _ = await asyncio.wait({waiting}, timeout=every_s)
            if not done:
                yield b": keep-alive\n\n"
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

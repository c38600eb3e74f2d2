"""A turn's event log in the process that runs it: what streams and waiting posts watch. Numbered from 1, never changed.

A viewer that goes away changes nothing; one that comes late reads from the start.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

TERMINAL = frozenset({"done", "error"})
# One event per token would cost more than the token; a reader does not see 25 ms.
_GATHER_S = 0.025
# JSON text with these characters would be cut in two by clients that split lines as Unicode does.
_LINE_ENDS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True, slots=True)
class TurnEvent:
    seq: int
    name: str
    data: dict[str, Any]

    def encode(self) -> bytes:
        """The event as `text/event-stream`."""
        text = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        for raw, escaped in _LINE_ENDS.items():
            text = text.replace(raw, escaped)
        return f"id: {self.seq}\nevent: {self.name}\ndata: {text}\n\n".encode("utf-8", "replace")


class EventLog:
    """Belongs to one event loop. Exactly one terminal event ends it."""

    def __init__(self, turn_id: UUID) -> None:
        self.turn_id = turn_id
        self.events: list[TurnEvent] = []
        # On the monotonic clock: when the first text came that a viewer sees.
        self.first_text_at: float | None = None
        # Told of every event, for who passes them on.
        self.on_event: Callable[[], None] | None = None
        self.is_abandoned = False
        self._news = asyncio.Event()
        self._pending: dict[str, list[str]] = {}
        self._flush_at: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1].name in TERMINAL

    def emit(self, name: str, data: dict[str, Any]) -> None:
        """Append an event, after the deltas that are still being gathered. Nothing follows a terminal event."""
        self.flush()
        self._append(name, data)

    def delta(self, agent_key: str, text: str) -> None:
        """Text of an answer; gathered for some milliseconds into one `chunk`."""
        self.first_text_at = self.first_text_at or time.monotonic()
        self._pending.setdefault(agent_key, []).append(text)
        if self._flush_at is None:
            self._flush_at = asyncio.get_running_loop().call_later(_GATHER_S, self.flush)

    def flush(self) -> None:
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        pending, self._pending = self._pending, {}
        for agent_key, parts in pending.items():
            self._append("chunk", {"agent_key": agent_key, "delta": "".join(parts)})

    async def watch(self, after: int = 0) -> AsyncIterator[TurnEvent]:
        """Every event past `after`, as it comes; returns after the terminal one, which is never left out."""
        while True:
            news = self._news
            while after < len(self.events):
                event = self.events[after]
                after += 1
                yield event
            if self.ended:
                if after > len(self.events):
                    # A copy may end before a number that was read elsewhere, since what Redis lost has none.
                    yield self.events[-1]
                return
            if self.is_abandoned:
                return
            await news.wait()

    def abandon(self) -> None:
        """Let the viewers go although there is no end yet: this process is about to stop. They read on elsewhere."""
        self.is_abandoned = True
        self._wake()

    def adopt(self, event: TurnEvent) -> bool:
        """Take over an event of the same turn's log elsewhere. False where it is not the next one."""
        if self.ended or event.seq != len(self.events) + 1:
            return False
        self._take(event)
        return True

    def _append(self, name: str, data: dict[str, Any]) -> None:
        if self.ended:
            return
        seq = len(self.events) + 1
        self._take(TurnEvent(seq, name, {"turn_id": str(self.turn_id), "seq": seq, **data}))

    def _take(self, event: TurnEvent) -> None:
        self.events.append(event)
        self._wake()
        if self.on_event is not None:
            self.on_event()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

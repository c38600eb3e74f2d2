"""The events of one turn, each once and in order, over as many connections as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sessions_app.chat.api import Api
from sessions_app.chat.events import ENDINGS, Event
from sessions_app.chat.problems import ChatError, NothingLeft, Problem, Unreachable

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
# What a server that restarts, or the proxy in front of it, answers meanwhile.
_AWAY = {502, 503, 504}
_ACCEPT = {"Accept": "text/event-stream"}


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is lost; the next try comes after the pause. `tries`: of them in a row, without anything new."""

    pause_s: float
    reason: str
    tries: int


class GaveUp(ChatError):
    """The server could not be reached again. The turn goes on there."""


class EventsGone(ChatError):
    """The events are not kept any more, but the turn itself can be read."""


class TurnStream:
    """Opened by a POST, or joined while the turn runs. `events` may be called again after it raised: it reads on."""

    def __init__(
        self,
        api: Api,
        *,
        path: str = "",
        body: dict[str, Any] | None = None,
        turn_id: str | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.turn_id = turn_id
        self.last_id = 0
        self.has_ended = False
        self._api = api
        self._path = path
        self._body = body or {}
        # The same for every try, so that a POST whose answer was lost never starts a second turn.
        self._key = str(uuid4())
        self._is_posted = False
        self._pauses_s = pauses_s
        self._sleep = sleep

    def events(self) -> Iterator[Event | Reconnecting]:
        """Raises: Problem, GaveUp, EventsGone."""
        tries = 0
        while not self.has_ended:
            read_before = self.last_id
            try:
                yield from self._connection()
                reason = "the stream ended early"
            except Unreachable as error:
                reason = str(error).rstrip(".")
            except Problem as problem:
                if problem.status not in _AWAY or problem.turn_id or tries == 0:
                    raise
                reason = str(problem).rstrip(".")
            if self.has_ended:
                return
            tries = 1 if self.last_id > read_before else tries + 1
            if tries > len(self._pauses_s):
                raise GaveUp(f"{reason[:1].upper()}{reason[1:]}. A turn that has begun goes on; /resume watches it.")
            pause_s = self._pauses_s[tries - 1]
            yield Reconnecting(pause_s, reason, tries)
            self._sleep(pause_s)

    def _connection(self) -> Iterator[Event]:
        """What one more connection brings that is new."""
        for event in self._opened():
            if event.id <= self.last_id:
                continue
            if event.id > self.last_id + 1:
                raise Unreachable("Events were lost on the way.")
            self.last_id = event.id
            self.turn_id = event.data.get("turn_id") or self.turn_id
            self.has_ended = event.name in ENDINGS
            yield event
            if self.has_ended:
                return

    def _opened(self) -> Iterator[Event]:
        if self.turn_id is None:
            is_first, self._is_posted = not self._is_posted, True
            try:
                yield from self._api.events(
                    "POST", self._path, json=self._body, headers={**_ACCEPT, "Idempotency-Key": self._key}
                )
            except Problem as problem:
                # An earlier try has begun the turn, in a process that this one cannot attach to.
                if is_first or problem.code != "idempotency_in_progress" or not problem.turn_id:
                    raise
                self.turn_id = problem.turn_id
            else:
                return
        yield from self._rest()

    def _rest(self) -> Iterator[Event]:
        """What follows on the last event that was read."""
        headers = {**_ACCEPT, "Last-Event-ID": str(self.last_id)}
        try:
            yield from self._api.events("GET", f"/turns/{self.turn_id}/events", headers=headers)
        except NothingLeft as error:
            raise EventsGone(str(error)) from None
        except Problem as problem:
            if problem.status == 410:
                raise EventsGone(str(problem)) from None
            raise

"""One person at one terminal: who is signed in, which session is open, what it has cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sessions_app.chat.api import Api
from sessions_app.chat.keyboard import Keyboard
from sessions_app.chat.problems import ChatError, Problem
from sessions_app.chat.screen import Palette, Screen
from sessions_app.chat.turn_stream import EventsGone, GaveUp, TurnStream
from sessions_app.chat.turn_view import NO_CREDITS, TurnView
from sessions_app.chat.watching import Left, watch

# Longer waits are left to the person.
RATE_LIMIT_WAIT_MAX_S = 90.0
CANCEL_WAIT_S, CANCEL_POLL_S = 60.0, 0.1


@dataclass
class Sitting:
    api: Api
    screen: Screen
    keyboard: Keyboard
    max_output_tokens: int | None = None
    # Null in a session with one agent alone.
    room: dict[str, Any] | None = None
    agents: list[dict[str, Any]] = field(default_factory=list)
    session_id: str = ""
    charged: Decimal = NO_CREDITS
    # A turn whose stream was lost, to be watched further.
    unfinished: tuple[TurnStream, TurnView] | None = None
    palette: Palette = field(default_factory=Palette)
    _turn_id: str | None = None

    def enter(self, *, room: dict[str, Any] | None, agents: list[dict[str, Any]], session_id: str) -> None:
        self.room, self.agents, self.session_id = room, agents, session_id
        self._turn_id = self.unfinished = None

    def last_turn_id(self) -> str:
        """Raises: ChatError where the session has no turn yet."""
        return self._turn_id or str(self.last_turn()["id"])

    def last_turn(self) -> dict[str, Any]:
        turns = self.api.get(f"/sessions/{self.session_id}/turns", page_size=1)["results"]
        if not turns:
            raise ChatError("There is no turn yet.")
        turn: dict[str, Any] = turns[0]
        return turn

    def post(self, message: str) -> bool:
        """Run a turn and show it. Whether it completed. Raises: ChatError, Left."""
        return self.run(self.stream(f"/sessions/{self.session_id}/turns/stream", {"message": message}))

    def regenerate(self) -> bool:
        return self.run(self.stream(f"/turns/{self.last_turn_id()}/regenerate/stream", {}))

    def stream(self, path: str, body: dict[str, Any]) -> TurnStream:
        limit = {} if self.max_output_tokens is None else {"max_output_tokens": self.max_output_tokens}
        return TurnStream(self.api, path=path, body={**body, **limit})

    def run(self, stream: TurnStream, view: TurnView | None = None) -> bool:
        """Show a turn to its end. Whether it completed. Raises: ChatError, Left."""
        view = view or TurnView(self.screen, self.palette)
        try:
            self._shown(stream, view)
        except GaveUp:
            self.unfinished = (stream, view) if stream.turn_id else None
            raise
        except Left:
            self.screen.line("")
            self.screen.note(
                f"A turn that has begun goes on: come back with --session {self.session_id}, then /resume."
            )
            raise
        except EventsGone:
            view.catch_up(self.api.get(f"/turns/{stream.turn_id}"))
        finally:
            self._turn_id = stream.turn_id or self._turn_id
        self.unfinished = None
        return self._ended(view)

    def _cancel(self, stream: TurnStream) -> str:
        """Ask the server to stop a turn; the answer is for the person. Runs aside, and waits for the turn to begin."""
        deadline = time.monotonic() + CANCEL_WAIT_S
        while stream.turn_id is None and time.monotonic() < deadline:
            time.sleep(CANCEL_POLL_S)
        if stream.turn_id is None:
            return "The turn has not begun yet, so it could not be cancelled."
        try:
            self.api.cancel(stream.turn_id)
        except Problem as problem:
            if problem.is_missing_operation:
                return "This server cannot cancel turns: it goes on."
            return f"{problem} The turn goes on."
        except ChatError as error:
            return f"{error} The turn goes on."
        return "Cancelled: what was used is billed."

    def _shown(self, stream: TurnStream, view: TurnView) -> None:
        while True:
            try:
                return watch(
                    stream.events(),
                    view.show,
                    cancel=lambda: self._cancel(stream),
                    say=self.screen.warning,
                )
            except Problem as problem:
                if not self._may_go_on(problem):
                    raise

    def _may_go_on(self, refusal: Problem) -> bool:
        """Whether what the server asked for was done: a fresh token, or some patience."""
        if refusal.status == 401 and self.api.sign_in_again is not None:
            self.api.sign_in_again()
            return True
        wait_s = refusal.retry_after_s
        if refusal.status != 429 or wait_s is None or wait_s > RATE_LIMIT_WAIT_MAX_S:
            return False
        self.screen.warning(f"{refusal} Waiting for it.")
        time.sleep(wait_s)
        return True

    def _ended(self, view: TurnView) -> bool:
        if view.error:
            self.screen.error(view.error)
        if view.balance_after is None:
            wallet = self.api.get("/users/me/wallet")
            view.balance_after, view.is_low = wallet["balance"], wallet["low_balance"]
        self.charged += view.charged
        self.screen.line("")
        view.closing_line(self.charged)
        return view.status == "completed"

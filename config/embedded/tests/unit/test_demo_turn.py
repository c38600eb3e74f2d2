"""The demo's own story against a scripted API: it believes nothing that does not add up."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from config.embedded.demo_turn import show_turn
from config.embedded.errors import EmbeddedError
from config.embedded.event_stream import Event
from config.embedded.terminal import Terminal

TURN_ID = "0198c0de-0000-7000-8000-000000000001"
CALL = {
    "call_index": 0,
    "agent_name": "Optimist",
    "purpose": "agent",
    "model_alias": "local",
    "provider_model": "smollm2-135m",
    "input_tokens_fresh": 100,
    "input_tokens_cached": 0,
    "input_tokens_cache_write": 0,
    "output_tokens": 65,
    "oe_tokens": "100.0000",
    "multiplier": "0.1000",
    "credits_charged": "0.00100000",
}
BILL = {
    "turn_id": TURN_ID,
    "pricing_version": "2026-02-20",
    "pricing_revision": 2,
    "weights": {"input_fresh": "0.35", "input_cache_write": "0.35", "input_cached": "0.10", "output": "1.00"},
    "divisor": "10000",
    "calls": [CALL],
    "credits_charged": "0.00100000",
    "balance_after": "9.99900000",
}
DONE = Event(4, "done", {"turn_id": TURN_ID, "status": "completed", "balance_after": "9.99900000"})
EVENTS = [
    Event(1, "agent_started", {"agent_name": "Optimist", "model_alias": "local"}),
    Event(2, "chunk", {"delta": "It "}),
    Event(3, "chunk", {"delta": "helps."}),
    DONE,
]


class ScriptedUser:
    def __init__(self, events: list[Event], balances: tuple[str, str] = ("10.00000000", "9.99900000")) -> None:
        self._events = events
        self._balances = list(balances)

    def get(self, path: str, **_params: Any) -> Any:
        return BILL if path.endswith("/bill") else {"balance": self._balances.pop(0)}

    def pages(self, _path: str, **_params: Any) -> Iterator[dict[str, Any]]:
        yield {"reference_id": TURN_ID, "amount": "-0.00100000"}
        yield {"reference_id": "another turn", "amount": "-5.00000000"}

    def stream(self, _path: str, _body: dict[str, Any]) -> Iterator[Event]:
        yield from self._events


def show(user: ScriptedUser) -> str:
    output = StringIO()
    show_turn(user, "session", Terminal(output))  # type: ignore[arg-type]
    return output.getvalue()


def test_answers_are_shown_as_they_arrive_and_the_bill_below_them() -> None:
    shown = show(ScriptedUser(EVENTS))
    assert "Optimist (local)\nIt helps." in shown
    assert "local (smollm2-135m)    100       0      65   100.0000      0.1000  0.00100000" in shown
    assert "agree" in shown


def test_a_wallet_that_moved_by_another_amount_fails_the_demo() -> None:
    with pytest.raises(EmbeddedError, match="the wallet moved by 1.00000000"):
        show(ScriptedUser(EVENTS, balances=("10.99900000", "9.99900000")))


def test_a_turn_that_only_half_succeeded_fails_the_demo() -> None:
    partial = Event(4, "done", {**DONE.data, "status": "partial"})
    with pytest.raises(EmbeddedError, match="the turn ended as partial"):
        show(ScriptedUser([*EVENTS[:-1], partial]))


def test_a_failed_turn_fails_the_demo_with_its_reason() -> None:
    error = Event(1, "error", {"code": "provider_error", "detail": "The provider failed."})
    with pytest.raises(EmbeddedError, match="provider_error: The provider failed."):
        show(ScriptedUser([error]))


def test_a_stream_that_just_stops_fails_the_demo() -> None:
    with pytest.raises(EmbeddedError, match="without `done`"):
        show(ScriptedUser(EVENTS[:2]))

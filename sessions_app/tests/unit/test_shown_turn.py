"""A turn as clients see it, made by a serializer that is kept from answer to answer."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from sessions_app.models import Message
from sessions_app.serializers import TurnOut, shown_turn

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)


def make_described(number: int, *said: str) -> dict:
    """What `turns.reading.describe` gives."""
    id_ = UUID(int=number)
    messages = [
        Message(id=id_, role="user", agent_key="", agent_name="", content=text, created_at=NOW) for text in said
    ]
    return {
        "id": id_, "session_id": id_, "turn_index": number, "mode": "roundtable", "status": "completed",
        "user_input": "Hi", "messages": messages, "balance_after": "1.00000000", "low_balance": False,
        "usage": {
            "credits_burned": "0.0062", "credits_charged": "0.00620000", "llm_calls": 1, "input_tokens_fresh": 12,
            "input_tokens_cached": 0, "output_tokens": 5,
        },
        "pricing_version": "2026-02-20", "pricing_revision": 1, "provider_model": "m", "summary_used_fallback": False,
        "regenerates": None, "continues": None, "regenerated_by": None, "warnings": [], "error": None,
        "created_at": NOW, "finished_at": None,
    }  # fmt: skip


def test_each_turn_is_shown_as_a_serializer_of_its_own_would():
    turns = [make_described(1, "one"), make_described(2, "two", "three"), make_described(3)]
    assert [shown_turn(turn) for turn in turns] == [TurnOut(turn).data for turn in turns]


def test_an_answer_keeps_nothing_of_the_one_before():
    first = shown_turn(make_described(1, "one"))
    second = shown_turn(make_described(2, "two"))
    assert [message["content"] for message in first["messages"]] == ["one"]
    assert [message["content"] for message in second["messages"]] == ["two"]

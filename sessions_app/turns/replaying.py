"""A finished turn as an event stream, made from its stored rows: what a stream answers to a replayed key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sessions_app.models import Turn
from sessions_app.turns.event_log import TurnEvent
from sessions_app.turns.reading import bill, describe


def stored_events(turn: Turn) -> list[TurnEvent]:
    """`turn_started`, each call with its text as one chunk, and the terminal event. Same texts, same numbers."""
    shown = describe([turn])[0]
    events = []
    for seq, (name, data) in enumerate(_events(turn, shown), start=1):
        events.append(TurnEvent(seq, name, {"turn_id": str(turn.id), "seq": seq, **data}))
    return events


def _events(turn: Turn, shown: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    agents = [
        {"agent_key": s["agent_key"], "agent_name": s["agent_name"], "model_alias": s["model_alias"]}
        for s in turn.speakers
    ]
    started = {
        "session_id": str(turn.session_id), "turn_index": turn.turn_index, "mode": turn.mode, "agents": agents,
    }  # fmt: skip
    yield "turn_started", started
    for warning in turn.warnings:
        yield "warning", warning
    texts = {m["agent_key"]: m["content"] for m in shown["messages"] if m["agent_key"]}
    for call in bill(turn)["calls"]:
        key = call["agent_key"]
        yield "agent_started", {
            "agent_key": key, "agent_name": call["agent_name"], "model_alias": call["model_alias"],
            "step": call["call_index"],
        }  # fmt: skip
        if texts.get(key):
            yield "chunk", {"agent_key": key, "delta": texts[key]}
        usage = {name: call[name] for name in ("input_tokens_fresh", "input_tokens_cached", "output_tokens")}
        usage["input_tokens_fresh"] += call["input_tokens_cache_write"]
        yield "agent_finished", {
            "agent_key": key, "status": call["status"], "usage": usage, "credits_burned": call["credits_burned"],
            "credits_charged": call["credits_charged"],
        }  # fmt: skip
    yield _end(turn, shown)


def _end(turn: Turn, shown: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if turn.status in {Turn.Status.FAILED, Turn.Status.INTERRUPTED}:
        return "error", {"code": turn.error_code, "detail": turn.error_detail, "status": turn.status}
    return "done", {
        "status": turn.status,
        "provider_model": turn.provider_model,
        "credits_burned": shown["usage"]["credits_burned"],
        "credits_charged": shown["usage"]["credits_charged"],
        "balance_after": shown["balance_after"],
        "low_balance": shown["low_balance"],
        "summary_used_fallback": turn.summary_used_fallback,
    }

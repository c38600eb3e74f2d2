"""A finished turn as an event stream, made from its stored rows: what a stream answers to a replayed key."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sessions_app.models import Room, Turn, TurnStep
from sessions_app.tools.events import finished, started
from sessions_app.turns.event_log import TurnEvent
from sessions_app.turns.outcome import CHOICE, is_choice, is_spoken
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
    yield from _calls(turn)
    yield _end(turn, shown)


def _calls(turn: Turn) -> Iterator[tuple[str, dict[str, Any]]]:
    """The calls in their order. In an orchestrated turn the agents between two of its own calls are a round."""
    steps = {step.id: step for step in TurnStep.objects.filter(turn_id=turn.id)}
    rounds = 0
    in_round = False
    billed = bill(turn)
    for call in billed["calls"]:
        speaks = turn.mode == Room.Mode.ORCHESTRATOR and call["purpose"] == "agent"
        if speaks != in_round:
            rounds += speaks
            yield "round_start" if speaks else "round_end", {"round": rounds}
            in_round = speaks
        tools = [tool for tool in billed["tool_calls"] if tool["step_id"] == call["step_id"]]
        yield from _call(call, steps.get(call["step_id"]), tools)
    if in_round:
        yield "round_end", {"round": rounds}


def _call(
    call: dict[str, Any], step: TurnStep | None, tools: list[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A call's events, and those of the tools that it asked for: as billed, with their arguments from the journal."""
    who = {name: call[name] for name in ("agent_key", "model_alias", "purpose")}
    if step is not None and is_choice(step.context):
        who["task"] = CHOICE
    yield "agent_started", {**who, "agent_name": call["agent_name"], "step": call["call_index"]}
    if step is not None and step.content and is_spoken(step.purpose, step.context):
        yield "chunk", {"agent_key": call["agent_key"], "delta": step.content}
    usage = {name: call[name] for name in ("input_tokens_fresh", "input_tokens_cached", "output_tokens")}
    usage["input_tokens_fresh"] += call["input_tokens_cache_write"]
    yield "agent_finished", {
        **who, "status": call["status"], "usage": usage, "credits_burned": call["credits_burned"],
        "credits_charged": call["credits_charged"],
    }  # fmt: skip
    kept = (step.context or {}).get("tools", ()) if step is not None else ()
    for told, tool in zip(kept, tools, strict=True):
        name, charged = tool["tool_name"], Decimal(tool["credits_charged"])
        yield "tool_started", started(call["agent_key"], name, told["arguments"])
        yield "tool_finished", finished(call["agent_key"], name, tool["status"], tool["latency_ms"], charged)


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

"""A turn as clients see it: from stored rows alone, so that a replay reads exactly as the first answer did."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from billing import reports
from config.core.errors import NotFound
from config.core.money import ledger_text, usage_text
from pricing.history import book_at
from pricing.rating import Weights
from sessions_app.errors import TurnFailed
from sessions_app.models import Message, Session, Turn, TurnStep

_NO_USAGE = reports.TurnUsage()


def turn_of(*, user_id: UUID, turn_id: UUID) -> Turn:
    """Raises: NotFound, also for another user's turn and for one whose session or room was deleted."""
    turn = Turn.objects.filter(
        id=turn_id, user_id=user_id, session__deleted_at__isnull=True, session__room__deleted_at__isnull=True
    ).first()
    if turn is None:
        raise NotFound
    return turn


def describe(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Turns as the API shows them. Four statements, however many turns."""
    ids = [turn.id for turn in turns]
    usage = reports.usage_of_turns(ids)
    balances = reports.balances_after(reference_type="turn", reference_ids=ids)
    messages: dict[UUID, list[Message]] = {id_: [] for id_ in ids}
    for message in Message.objects.filter(turn_id__in=ids).order_by("id"):
        messages[message.turn_id].append(message)
    anew = Turn.objects.filter(_answered("id"), regenerates_id__in=ids)
    regenerated = dict(anew.values_list("regenerates_id", "id"))
    return [
        {
            **_turn(turn, usage.get(turn.id, _NO_USAGE), balances.get(turn.id), messages[turn.id]),
            "regenerated_by": regenerated.get(turn.id),
        }
        for turn in turns
    ]


def conversation_of(session: Session) -> QuerySet[Message]:
    """The messages of a session as they stand: without the turns that were made anew, and attempts at that.

    An attempt that gave no answer (yet) repeats the user's message and replaces nothing.
    """
    made_anew = Turn.objects.filter(_answered("id"), regenerates_id=OuterRef("turn_id"))
    attempts = Q(turn__regenerates_id__isnull=False) & ~_answered("turn_id")
    return Message.objects.filter(~Exists(made_anew), ~attempts, session=session)


def gave_no_answer(turn: Turn) -> bool:
    return not Message.objects.filter(turn=turn, role=Message.Role.ASSISTANT).exists()


def _answered(turn_id: str) -> Exists:
    """Whether an agent has answered in the turn with the id in this column of the outer query."""
    return Exists(Message.objects.filter(turn_id=OuterRef(turn_id), role=Message.Role.ASSISTANT))


def answer(turn: Turn) -> dict[str, Any]:
    """What a POST that made this turn answers. Raises: TurnFailed where no agent answered."""
    if turn.status == Turn.Status.FAILED:
        raise TurnFailed(
            code=turn.error_code, detail=turn.error_detail, turn_id=turn.id, members=turn.error_members or {}
        )
    return describe([turn])[0]


def _turn(
    turn: Turn, usage: reports.TurnUsage, balance_after: Decimal | None, messages: list[Message]
) -> dict[str, Any]:
    return {
        "id": turn.id,
        "session_id": turn.session_id,
        "turn_index": turn.turn_index,
        "mode": turn.mode,
        "status": turn.status,
        "user_input": turn.user_input,
        "messages": [describe_message(message) for message in messages],
        "usage": {
            "credits_burned": usage_text(usage.credits_burned),
            "credits_charged": ledger_text(usage.credits_charged),
            "llm_calls": usage.llm_calls,
            "input_tokens_fresh": usage.input_tokens_fresh,
            "input_tokens_cached": usage.input_tokens_cached,
            "output_tokens": usage.output_tokens,
        },
        "balance_after": None if balance_after is None else ledger_text(balance_after),
        "low_balance": None if balance_after is None else reports.is_low(balance_after),
        "pricing_version": turn.pricing_version,
        "pricing_revision": turn.pricing_revision,
        "provider_model": turn.provider_model or None,
        "summary_used_fallback": turn.summary_used_fallback,
        "regenerates": turn.regenerates_id,
        "continues": turn.continues_id,
        "warnings": turn.warnings,
        "error": {"code": turn.error_code, "detail": turn.error_detail} if turn.error_code else None,
        "created_at": turn.created_at,
        "finished_at": turn.finished_at,
    }


def describe_message(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "role": message.role,
        "agent_key": message.agent_key or None,
        "agent_name": message.agent_name or None,
        "content": message.content,
        "created_at": message.created_at,
    }


def bill(turn: Turn) -> dict[str, Any]:
    """The itemised bill, in numbers that can be added up again: one line per LLM call, with the formula filled in, and
    one per tool call.
    """
    weights = book_at(turn.pricing_version, turn.pricing_revision).weights
    names: dict[UUID | None, tuple[str, str]] = {
        step.id: (step.agent_key, step.agent_name) for step in TurnStep.objects.filter(turn_id=turn.id).defer("context")
    }
    calls = reports.calls_of_turn(turn_id=turn.id)
    tools = reports.tool_calls_of_turn(turn_id=turn.id)
    usage = reports.usage_of_turns([turn.id]).get(turn.id, _NO_USAGE)
    balance = reports.balances_after(reference_type="turn", reference_ids=[turn.id]).get(turn.id)
    return {
        "turn_id": turn.id,
        "status": turn.status,
        "pricing_version": turn.pricing_version,
        "pricing_revision": turn.pricing_revision,
        "weights": {
            "input_fresh": usage_text(weights.input_fresh),
            "input_cache_write": usage_text(weights.input_cache_write),
            "input_cached": usage_text(weights.input_cached),
            "output": usage_text(weights.output),
        },
        "divisor": usage_text(weights.divisor),
        "calls": [_line(call, *names.get(call.step_id, ("", "")), weights) for call in calls],
        "tool_calls": [_tool_line(tool) for tool in tools],
        "credits_burned": usage_text(usage.credits_burned),
        "credits_charged": ledger_text(usage.credits_charged),
        "balance_after": None if balance is None else ledger_text(balance),
    }


def _tool_line(call: Any) -> dict[str, Any]:
    """What a tool gave is paid as input of the next call, whatever its own price is."""
    return {
        "call_index": call.call_index,
        "step_id": call.step_id,
        "agent_key": call.agent_key,
        "tool_name": call.tool_name,
        "status": call.status,
        "error_code": call.error_code,
        "latency_ms": call.latency_ms,
        "result_bytes": call.result_bytes,
        "called_at": call.called_at,
        "credits_burned": usage_text(call.credits_burned),
        "credits_charged": ledger_text(call.credits_charged),
    }


def _line(call: Any, agent_key: str, agent_name: str, weights: Weights) -> dict[str, Any]:
    return {
        "call_index": call.call_index,
        "step_id": call.step_id,
        "agent_key": agent_key,
        "agent_name": agent_name,
        "purpose": call.purpose,
        "model_alias": call.model_alias,
        "provider_model": call.provider_model,
        "status": call.status,
        "usage_source": call.usage_source,
        "usage_flags": call.usage_flags,
        "input_tokens_fresh": call.input_tokens_fresh,
        "input_tokens_cached": call.input_tokens_cached,
        "input_tokens_cache_write": call.input_tokens_cache_write,
        "output_tokens": call.output_tokens,
        "reasoning_tokens": call.reasoning_tokens,
        "oe_tokens": usage_text(call.oe_tokens_computed),
        "multiplier": usage_text(call.multiplier),
        "credits_burned": usage_text(call.credits_burned),
        "credits_charged": ledger_text(call.credits_charged),
        "formula": (
            f"({_short(weights.input_fresh)} x {call.input_tokens_fresh} fresh"
            f" + {_short(weights.input_cache_write)} x {call.input_tokens_cache_write} cache-write"
            f" + {_short(weights.input_cached)} x {call.input_tokens_cached} cached"
            f" + {_short(weights.output)} x {call.output_tokens} output)"
            f" x {_short(call.multiplier)} / {_short(weights.divisor)} = {ledger_text(call.credits_charged)}"
        ),
    }


def _short(value: Decimal) -> str:
    """Without trailing zeros and without an exponent."""
    return f"{value.normalize():f}"

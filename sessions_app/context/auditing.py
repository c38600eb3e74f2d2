"""Why a turn read what it read: its calls' readings as one row with a sentence that a person can follow. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from config.core.ids import uuid7

_COUNTS = (
    "model_alias",
    "budget_tokens",
    "reserve_tokens",
    "required_tokens",
    "included_messages",
    "included_tokens",
    "cut_messages",
    "cut_tokens",
    "cut_through_turn_index",
    "answers_cut",
    "notes_tokens",
    "exact",
)


def audit_of(
    calls: Sequence[Mapping[str, Any]], *, summarised_tokens: int, fallback_reason: str
) -> dict[str, Any] | None:
    """The columns of `turn_context_audit`; None for a turn that made no call.

    `calls`: the readings with `step_index` and `purpose`. The row has the counts of the tightest: the one that had to
    leave out most.
    """
    if not calls:
        return None
    tightest = max(calls, key=lambda call: (call["cut_messages"], call["answers_cut"], -call["budget_tokens"]))
    pruned = bool(tightest["cut_messages"]) or any(call["answers_cut"] or call["notes_cut"] for call in calls)
    notes = max(call["notes_messages"] for call in calls)
    strategy = "summarised_and_pruned" if notes and pruned else "summarised" if notes else "pruned" if pruned else "all"
    return {
        "id": uuid7(),
        **{name: tightest[name] for name in _COUNTS},
        "strategy": strategy,
        "explanation": _explanation(tightest, fallback_reason),
        "summarised_messages": notes,
        "summarised_tokens": summarised_tokens,
        "summary_used_fallback": bool(fallback_reason),
        "calls": [dict(call) for call in calls],
    }


def _explanation(call: Mapping[str, Any], fallback_reason: str) -> str:
    said = [
        f"{call['model_alias']} could read {call['budget_tokens']} tokens ({call['reserve_tokens']} are kept free for"
        f" its answer); instructions and message took {call['required_tokens']}"
        f"{'' if call['exact'] else ' at most'}."
    ]
    if call["notes_messages"]:
        shortened = ", cut short," if call["notes_cut"] else ""
        said.append(
            f"Notes ({call['notes_tokens']} tokens){shortened} stood for {call['notes_messages']} old messages."
        )
    said.append(f"{call['included_messages']} messages ({call['included_tokens']} tokens) were read as they were said.")
    if call["cut_messages"]:
        said.append(
            f"{call['cut_messages']} messages ({call['cut_tokens']} tokens), through turn"
            f" {call['cut_through_turn_index']}, did not fit and were left out."
        )
    if call["answers_cut"]:
        said.append(f"{call['answers_cut']} of {call['answers']} answers of this turn were cut to fit.")
    if fallback_reason:
        said.append(f"A summary was due and could not be made ({fallback_reason}).")
    return " ".join(said)

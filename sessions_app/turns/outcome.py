"""How a turn ended: from its steps to its status, its answers, its notes and its audit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from config.core.ids import uuid7
from sessions_app.context import summarising
from sessions_app.context.auditing import audit_of
from sessions_app.turns.ending_rows import Answer, Conclusion, SummaryRow, TurnEnd
from sessions_app.turns.planning import Warning
from sessions_app.turns.rows import StepRow

# Why a run stopped before its speakers were through.
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
OUT_OF_CREDITS = "insufficient_credits"
TIMED_OUT = "provider_timeout"
BROKEN = "internal_error"

# What of a turn its client reads: the agents' answers and the orchestrator's.
SPOKEN = frozenset({"agent", "synthesis"})
# The task of a step in which a model chose a tool in words: nothing that its client reads.
CHOICE = "tool_choice"

_DETAILS = {
    "provider_error": "The provider answered with an error.",
    "provider_unavailable": "The provider is not available.",
    "provider_timeout": "The provider did not answer in time.",
    "internal_error": "Something went wrong on our side.",
    "turn_interrupted": "The process that ran this turn ended; finished calls are billed and kept.",
    "insufficient_credits": "The credits do not cover a further call.",
    "spending_limit_reached": "A spending limit does not allow a further call.",
}


@dataclass(slots=True)
class RunReport:
    """What a run leaves behind besides its steps.

    `finished`: everybody who was to speak was asked. `shortfalls`: why answers were not given in full, a fallback's
    counting as the answer. `refused_with`: what the wallet's refusal says beside its code, where one stopped the run.
    """

    stopped_by: str | None = None
    finished: bool = False
    shortfalls: list[str] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)
    failure_details: dict[str, str] = field(default_factory=dict)
    refused_with: dict[str, Any] | None = None
    summary_fallback: str = ""
    title: str = ""


def is_choice(context: Mapping[str, Any] | None) -> bool:
    return (context or {}).get("task") == CHOICE


def is_spoken(purpose: str, context: Mapping[str, Any] | None) -> bool:
    """Whether what a step says is for the client."""
    return purpose in SPOKEN and not is_choice(context)


def asked_for_tools(context: Mapping[str, Any] | None) -> bool:
    """Whether a step was followed by another one of the same answer: it chose a tool, or called some."""
    return is_choice(context) or "tools" in (context or {})


def conclude(*, steps: Sequence[StepRow], report: RunReport, summary_plan: Mapping[str, Any] | None) -> Conclusion:
    """Completed when everybody answered in full; partial with some text; failed with none."""
    spoken = [step for step in steps if is_spoken(step.purpose, step.context)]
    answers = [_answer(step) for step in spoken if step.content]
    status, code = _status(answered=bool(answers), report=report)
    detail = report.failure_details.get(code) or _DETAILS.get(code, "") if code else ""
    summary = _summary(steps, report, summary_plan)
    fallback_reason = summary.reason if summary else ""
    end = TurnEnd(
        status=status,
        error_code=code,
        error_detail=detail,
        provider_model=next((str(step.call["provider_model"]) for step in spoken if step.call and step.content), ""),
        warnings=[{"code": w.code, "detail": w.detail} for w in report.warnings],
        summary_used_fallback=bool(fallback_reason),
        title=report.title if answers else "",
        error_members=report.refused_with if status == "failed" else None,
    )
    audit = audit_of(
        [
            {"step_index": step.step_index, "purpose": step.purpose, **_without_tools(step.context)}
            for step in steps
            if step.context and "budget_tokens" in step.context and step.status != "running"
        ],
        summarised_tokens=int(summary_plan["read_tokens"]) if summary_plan and not fallback_reason else 0,
        fallback_reason=fallback_reason,
    )
    return Conclusion(end, answers, summary, audit)


def _without_tools(context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in context.items() if name != "tools"}


def _answer(step: StepRow) -> Answer:
    speaker = step.speaker
    agent_id = speaker.agent_id if step.purpose == "agent" else None
    return Answer(uuid7(), agent_id, speaker.agent_key, speaker.agent_name, step.content)


def _status(*, answered: bool, report: RunReport) -> tuple[str, str]:
    if report.stopped_by == CANCELLED:
        return "cancelled", ""
    if report.stopped_by == INTERRUPTED:
        return "interrupted", "turn_interrupted"
    if report.stopped_by is None and report.finished and not report.shortfalls:
        return "completed", ""
    code = report.stopped_by or next(iter(report.shortfalls), "provider_error")
    return ("partial", code) if answered else ("failed", code)


def _summary(steps: Sequence[StepRow], report: RunReport, plan: Mapping[str, Any] | None) -> SummaryRow | None:
    """The notes that the turn made, read from its steps: a turn that was recovered keeps what it has paid for."""
    made = [step for step in steps if step.purpose == "summary" and (step.context or {}).get("task") != "title"]
    for step in made:
        notes = summarising.parse(step.content) if step.status == "success" else None
        if notes is not None and plan is not None:
            return SummaryRow(
                id=uuid7(), step_id=step.id, model_alias=step.speaker.model_alias, notes=notes, reason="",
                through_turn_index=plan["through_turn_index"], through_message_id=UUID(plan["through_message_id"]),
                messages=plan["messages"],
            )  # fmt: skip
    if not made and not report.summary_fallback:
        return None
    last = made[-1] if made else None
    reason = report.summary_fallback or why_not(made)
    alias = last.speaker.model_alias if last else ""
    return SummaryRow(uuid7(), last.id if last else None, alias, None, reason, None, None, 0)


def why_not(made: Sequence[StepRow]) -> str:
    """Why these calls gave no notes: the last one's error, its status, or that nobody could read what it said."""
    last = made[-1]
    return last.error_code or (last.status if last.status != "success" else "unreadable")

"""How a turn ended: from its steps to its status, its answers and its error. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from config.core.ids import uuid7
from sessions_app.turns.planning import Warning
from sessions_app.turns.rows import Answer, StepRow, TurnEnd

# Why a run stopped before its speakers were through.
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
OUT_OF_CREDITS = "insufficient_credits"
TIMED_OUT = "provider_timeout"
BROKEN = "internal_error"

_DETAILS = {
    "provider_error": "The provider answered with an error.",
    "provider_unavailable": "The provider is not available.",
    "provider_timeout": "The provider did not answer in time.",
    "internal_error": "Something went wrong on our side.",
    "turn_interrupted": "The process that ran this turn ended; finished calls are billed and kept.",
}


@dataclass(slots=True)
class RunReport:
    """What a run leaves behind besides its steps."""

    stopped_by: str | None = None
    warnings: list[Warning] = field(default_factory=list)
    failure_details: dict[str, str] = field(default_factory=dict)


def conclude(*, steps: Sequence[StepRow], speakers: int, report: RunReport) -> tuple[TurnEnd, list[Answer]]:
    """Completed when every speaker answered in full; partial with some text; failed with none."""
    spoken = [step for step in steps if step.purpose == "agent"]
    answers = [
        Answer(uuid7(), s.speaker.agent_id, s.speaker.agent_key, s.speaker.agent_name, s.content)
        for s in spoken
        if s.content
    ]
    complete = sum(step.status == "success" for step in spoken) == speakers
    status, code = _status(complete=complete, answered=bool(answers), steps=spoken, report=report)
    detail = report.failure_details.get(code) or _DETAILS.get(code, "") if code else ""
    end = TurnEnd(
        status=status,
        error_code=code,
        error_detail=detail,
        provider_model=next((str(step.call["provider_model"]) for step in spoken if step.call and step.content), ""),
        warnings=[{"code": w.code, "detail": w.detail} for w in report.warnings],
    )
    return end, answers


def _status(*, complete: bool, answered: bool, steps: Sequence[StepRow], report: RunReport) -> tuple[str, str]:
    if report.stopped_by == CANCELLED:
        return "cancelled", ""
    if report.stopped_by == INTERRUPTED:
        return "interrupted", "turn_interrupted"
    if complete:
        return "completed", ""
    failures = [step.error_code for step in steps if step.error_code]
    code = report.stopped_by or (failures[0] if failures else "provider_error")
    return ("partial", code) if answered else ("failed", code)

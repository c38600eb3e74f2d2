"""How a turn ended, from its steps."""

from __future__ import annotations

import pytest

from config.core.ids import uuid7
from sessions_app.turns.outcome import BROKEN, CANCELLED, INTERRUPTED, OUT_OF_CREDITS, TIMED_OUT, RunReport, conclude
from sessions_app.turns.planning import Speaker, Warning
from sessions_app.turns.rows import StepRow


def step(status, content="", error_code="", model="m-1"):
    speaker = Speaker(uuid7(), "ann", "Ann", "", "gpt-4o")
    return StepRow(uuid7(), 1, speaker, "agent", status, content, error_code, {"provider_model": model})


GOOD = ("success", "text")
CUT = ("partial", "te", "provider_error")
BAD = ("error", "", "provider_unavailable")


def ended(steps, speakers, **fields):
    """The conclusion of a run in which so many were asked to speak."""
    asked = [step(*item) for item in steps]
    short = [item.error_code or item.status for item in asked if item.status != "success"]
    report = RunReport(finished=len(steps) == speakers, shortfalls=short, **fields)
    return conclude(steps=asked, report=report, summary_plan=None)


@pytest.mark.parametrize(
    ("steps", "speakers", "stopped_by", "expected"),
    [
        ([GOOD, GOOD], 2, None, ("completed", "")),
        ([("success", "")], 1, None, ("completed", "")),
        ([GOOD, BAD], 2, None, ("partial", "provider_unavailable")),
        ([BAD, GOOD], 2, None, ("partial", "provider_unavailable")),
        ([CUT], 1, None, ("partial", "provider_error")),
        ([BAD, BAD], 2, None, ("failed", "provider_unavailable")),
        ([GOOD], 3, OUT_OF_CREDITS, ("partial", "insufficient_credits")),
        ([GOOD], 2, TIMED_OUT, ("partial", "provider_timeout")),
        ([("cancelled", "")], 2, TIMED_OUT, ("failed", "provider_timeout")),
        ([], 2, BROKEN, ("failed", "internal_error")),
        ([GOOD], 2, CANCELLED, ("cancelled", "")),
        ([GOOD, ("error", "")], 3, INTERRUPTED, ("interrupted", "turn_interrupted")),
    ],
)
def test_the_status_follows_from_what_was_answered(steps, speakers, stopped_by, expected):
    conclusion = ended(steps, speakers, stopped_by=stopped_by)
    assert (conclusion.end.status, conclusion.end.error_code) == expected
    assert [answer.content for answer in conclusion.answers] == [item[1] for item in steps if item[1]]


def test_the_providers_own_words_and_the_warnings_are_kept():
    end = ended(
        [BAD, (*GOOD, "", "m-2")], 2,
        warnings=[Warning("w", "said")], failure_details={"provider_unavailable": "It is asleep."},
    ).end  # fmt: skip
    assert (end.error_detail, end.provider_model) == ("It is asleep.", "m-2")
    assert end.warnings == [{"code": "w", "detail": "said"}]


def test_an_answer_that_a_fallback_gave_is_an_answer():
    steps = [step(*BAD), step(*GOOD)]
    conclusion = conclude(steps=steps, report=RunReport(finished=True), summary_plan=None)
    assert (conclusion.end.status, conclusion.end.error_code) == ("completed", "")

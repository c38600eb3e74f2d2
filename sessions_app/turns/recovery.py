"""Turns whose process died: taken over, billed from the journal, ended as `interrupted`.

Run by the beat, at start-up, by `settle_interrupted`, and by an opening that finds its session blocked by such a turn.
"""

from __future__ import annotations

from uuid import UUID, uuid4

import structlog
from django.db import InterfaceError, OperationalError

from pricing.history import book_at
from sessions_app import leases, metrics, tracing
from sessions_app.models import Turn, TurnStep
from sessions_app.turns import journal
from sessions_app.turns.meter import Meter, TurnIds
from sessions_app.turns.outcome import CANCELLED, INTERRUPTED, RunReport, conclude
from sessions_app.turns.planning import Speaker, Warning
from sessions_app.turns.rows import StepRow
from sessions_app.turns.settling import TurnRecord, settle_turn

log = structlog.get_logger(__name__)
BATCH = 100


def recover_lost_turns() -> int:
    """End every running turn whose lease ran out; returns how many. Safe to run on several machines at once."""
    recovered = 0
    while lost := leases.lost("turns", limit=BATCH):
        done = sum(_recover_or_report(turn_id) for turn_id in lost)
        recovered += done
        if done == 0:
            break
    return recovered


def _recover_or_report(turn_id: UUID) -> bool:
    """One turn that cannot be settled must not keep the others from it. It stays leased to us and is tried again."""
    try:
        return recover(turn_id)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # noqa: BLE001 - whatever is wrong with this one turn, the next one is not to blame
        log.exception("turn_not_recoverable", turn_id=str(turn_id))
        return False


def recover(turn_id: UUID) -> bool:
    """End one turn that lost its lease. False when it has its lease back, has ended, or somebody else was faster.

    Idempotent. What is billed are the calls of models and of tools that the journal has as finished, at the price that
    the turn is pinned to;
    a call that was running when the process died is recorded without usage and billed nothing.
    """
    claim = uuid4()
    if not leases.take_over("turns", turn_id, claim=claim):
        return False
    turn = Turn.objects.get(id=turn_id)
    record = _record_of(turn, claim)
    with tracing.turn_span(turn_id=turn.id, session_id=turn.session_id, mode=turn.mode, recovered=True) as span:
        settlement = settle_turn(record)
        if settlement is not None:
            end = record.conclusion.end
            span.ended(
                status=end.status, error_code=end.error_code, charged=settlement.charged, calls=len(record.calls)
            )
            metrics.turn_recovered(turn.mode, end.status)
    if settlement is not None:
        log.warning("turn_recovered", turn_id=str(turn_id), calls=len(record.calls), charged=str(settlement.charged))
    return settlement is not None


def end_unstarted(turn_id: UUID, *, claim: UUID, stopped_by: str, detail: str = "") -> bool:
    """End a turn that was claimed and made no call: nothing is billed, its hold is released."""
    turn = Turn.objects.get(id=turn_id)
    ids = TurnIds(turn.id, turn.session_id, turn.room_id, turn.user_id)
    report = RunReport(stopped_by=stopped_by, warnings=_warnings(turn), failure_details={stopped_by: detail})
    conclusion = conclude(steps=[], report=report, summary_plan=None)
    book = book_at(turn.pricing_version, turn.pricing_revision)
    settlement = settle_turn(TurnRecord(ids, claim, book, conclusion, [], [], []))
    if settlement is not None:
        metrics.turn_ended(mode=turn.mode, status=conclusion.end.status)
    return settlement is not None


def _record_of(turn: Turn, claim: UUID) -> TurnRecord:
    ids = TurnIds(turn.id, turn.session_id, turn.room_id, turn.user_id)
    book = book_at(turn.pricing_version, turn.pricing_revision)
    meter = Meter(ids=ids, book=book)
    running: list[StepRow] = []
    for step in TurnStep.objects.filter(turn_id=turn.id).order_by("step_index"):
        row = _step_row(step)
        meter.steps.append(row)
        if step.call is None:
            running.append(row)
            continue
        meter.calls.append(
            journal.decode(
                step.call,
                call_index=step.step_index,
                purpose=step.purpose,
                model_alias=step.model_alias,
                room_id=ids.room_id,
                session_id=ids.session_id,
                turn_id=ids.turn_id,
                step_id=step.id,
                agent_id=step.agent_id,
            )  # fmt: skip
        )
    for row in running:
        price = book.find(row.speaker.model_alias)
        if price is not None:
            meter.lose(row, price=price)
    stopped_by = CANCELLED if turn.cancel_requested_at else INTERRUPTED
    report = RunReport(stopped_by=stopped_by, warnings=_warnings(turn))
    conclusion = conclude(steps=meter.steps, report=report, summary_plan=turn.summary_plan)
    return TurnRecord(ids, claim, book, conclusion, meter.steps, meter.calls, meter.tools())


def _warnings(turn: Turn) -> list[Warning]:
    return [Warning(item["code"], item["detail"]) for item in turn.warnings]


def _step_row(step: TurnStep) -> StepRow:
    speaker = Speaker(step.agent_id, step.agent_key, step.agent_name, "", step.model_alias)
    return StepRow(
        step.id, step.step_index, speaker, step.purpose, step.status, step.content, step.error_code, step.call,
        step.started_at, step.finished_at, step.context,
    )  # fmt: skip

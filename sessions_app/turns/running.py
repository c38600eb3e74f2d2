"""Running a turn: a task of its own, detached from the request that opened it. No transaction is open here.

It ends in exactly one settlement, whatever happens: finished, failed, timed out, cancelled, drained. Only a process
that dies leaves that to the sweeper.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

import structlog
from django.conf import settings

from billing.ledger import Settlement, in_order
from billing.reports import is_low
from config.core.money import ZERO, ledger_text, usage_text
from config.core.transactions import patiently
from sessions_app import metrics, tracing
from sessions_app.orchestration.graph import run_graph
from sessions_app.orchestration.state import TurnPorts
from sessions_app.turns.asking import Asker
from sessions_app.turns.calling import Caller, TurnLost
from sessions_app.turns.ending_rows import TurnEnd
from sessions_app.turns.event_log import EventLog
from sessions_app.turns.meter import Meter, TurnIds
from sessions_app.turns.opening_rows import summary_plan
from sessions_app.turns.outcome import BROKEN, CANCELLED, INTERRUPTED, TIMED_OUT, RunReport, conclude
from sessions_app.turns.settling import TurnRecord, settle_turn
from sessions_app.turns.turn import OpenedTurn

log = structlog.get_logger(__name__)
# While the database is away a finished turn waits here to be billed; the lease decides who bills it in the end.
_SETTLE_PATIENCE_S = 600


class TurnRun:
    """One running turn of this process: its meter, its event log, and the task that ends with its settlement."""

    def __init__(self, turn: OpenedTurn) -> None:
        self.turn = turn
        self.events = EventLog(turn.id)
        self.report = RunReport(warnings=list(turn.prepared.plan.warnings))
        ids = TurnIds(turn.id, turn.request.session_id, turn.prepared.room_id, turn.request.user_id)
        self.meter = Meter(ids=ids, book=turn.prepared.book, first_step_id=turn.first_step_id)
        self.caller = Caller(turn=turn, meter=self.meter, events=self.events, report=self.report)
        self.asker = Asker(turn=turn, caller=self.caller, report=self.report)
        self.task: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._started_at = time.monotonic()

    def stop(self, reason: str) -> None:
        """End the run early: the provider's socket is closed, what came is kept and billed. Idempotent."""
        if self.report.stopped_by is None:
            self.report.stopped_by = reason
        if self._working is not None:
            self._working.cancel()

    async def run(self) -> None:
        structlog.contextvars.bind_contextvars(turn_id=str(self.turn.id), user_id=str(self.turn.request.user_id))
        mode = self.turn.prepared.plan.mode
        metrics.turn_started(mode)
        try:
            with tracing.turn_span(turn_id=self.turn.id, session_id=self.turn.request.session_id, mode=mode) as span:
                await self._run(span)
        finally:
            metrics.turn_stopped(mode)

    async def _run(self, span: tracing.TurnSpan) -> None:
        self._announce()
        # A task of its own, so that stopping the work never stops the settling after it.
        self._working = asyncio.create_task(self._work())
        if self.report.stopped_by is not None:
            self._working.cancel()
        await asyncio.wait({self._working})
        await self.caller.quiet.wait()
        if not self._explained(self._working):
            self.events.emit("error", {"code": "turn_interrupted", "detail": "The turn was taken over elsewhere."})
            return
        try:
            await self._settle(span)
        except Exception:
            # Whatever it is, viewers must not wait for ever. The sweeper bills what the journal has.
            log.exception("settle_failed")
            self.events.emit("error", {"code": BROKEN, "detail": "The turn could not be settled yet."})

    async def _work(self) -> None:
        async with asyncio.timeout(settings.TURN_TIMEOUT_S):
            await run_graph(self._ports())
            self.report.finished = True
            await self.asker.entitle(settings.SESSION_TITLES)

    def _ports(self) -> TurnPorts:
        asker = self.asker
        return TurnPorts(
            plan=self.turn.prepared.plan,
            ask=asker.ask,
            summarise=asker.summarise,
            emit=self.events.emit,
            warn=self.caller.warn,
        )

    def _explained(self, work: asyncio.Task[None]) -> bool:
        """Note why the work ended. False when the turn is not ours to settle any more."""
        if self.report.finished and self.report.stopped_by in {CANCELLED, INTERRUPTED}:
            # Everybody has spoken; what was stopped is at most the session's title.
            self.report.stopped_by = None
            return True
        if work.cancelled():
            self.report.stopped_by = self.report.stopped_by or INTERRUPTED
            return True
        error = work.exception()
        if isinstance(error, TurnLost):
            return False
        if error is not None and self.report.finished:
            # Everybody has spoken; only the session's title was still to be found.
            log.warning("title_not_made", exc_info=error)
        elif isinstance(error, TimeoutError):
            self.report.stopped_by = TIMED_OUT
        elif error is not None:
            # A bug of ours or a database that is away: the turn still ends, and what ran is billed.
            self.report.stopped_by = BROKEN
            log.error("turn_broke", exc_info=error)
        return True

    def _announce(self) -> None:
        request, plan = self.turn.request, self.turn.prepared.plan
        self.events.emit(
            "turn_started",
            {
                "session_id": str(request.session_id),
                "turn_index": self.turn.prepared.next_turn_index,
                "mode": plan.mode,
                "agents": [
                    {"agent_key": s.agent_key, "agent_name": s.agent_name, "model_alias": s.model_alias}
                    for s in plan.speakers
                ],
            },
        )
        for warning in plan.warnings:
            self.events.emit("warning", {"code": warning.code, "detail": warning.detail})

    async def _settle(self, span: tracing.TurnSpan) -> None:
        due = self.turn.prepared.summary
        conclusion = conclude(
            steps=self.meter.steps, report=self.report, summary_plan=summary_plan(due) if due else None
        )
        record = TurnRecord(
            self.meter.ids, self.turn.lease_claim, self.turn.prepared.book, conclusion,
            self.meter.ended(), list(self.meter.calls), self.meter.tools(),
        )  # fmt: skip
        # Patient while the database is away: what the provider was paid for must not be lost.
        settlement = await patiently(partial(settle_turn, record), patience_s=_SETTLE_PATIENCE_S)
        if settlement is None:
            self.events.emit("error", {"code": "turn_interrupted", "detail": "The turn was settled elsewhere."})
            return
        self._say_end(conclusion.end, settlement)
        # No await in between: whoever is woken by the terminal event finds the turn counted.
        self._count_end(conclusion.end, settlement, span)

    def _count_end(self, end: TurnEnd, settlement: Settlement, span: tracing.TurnSpan) -> None:
        first_text_at = self.events.first_text_at
        metrics.turn_ended(
            mode=self.turn.prepared.plan.mode,
            status=end.status,
            duration_s=time.monotonic() - self._started_at,
            first_text_s=None if first_text_at is None else first_text_at - self._started_at,
        )
        calls = len(self.meter.calls)
        span.ended(status=end.status, error_code=end.error_code, charged=settlement.charged, calls=calls)

    def _say_end(self, end: TurnEnd, settlement: Settlement) -> None:
        """The terminal event, after the commit."""
        items = in_order(self.meter.calls, self.meter.tools())
        burned = sum((item.rated.credits_burned for item in items), ZERO)
        if end.status in {"failed", "interrupted"}:
            self.events.emit("error", {"code": end.error_code, "detail": end.error_detail, "status": end.status})
        else:
            self.events.emit(
                "done",
                {
                    "status": end.status,
                    "provider_model": end.provider_model,
                    "credits_burned": usage_text(burned),
                    "credits_charged": ledger_text(settlement.charged),
                    "balance_after": ledger_text(settlement.balance_after),
                    "low_balance": is_low(settlement.balance_after),
                    "summary_used_fallback": end.summary_used_fallback,
                },
            )
        log.info("turn_ended", status=end.status, llm_calls=len(self.meter.calls), charged=str(settlement.charged))

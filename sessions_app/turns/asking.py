"""One model call of a running turn: journal and hold before it, meter and events around it."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import structlog

from billing import ledger
from billing.errors import HoldClosed, InsufficientCredits
from config.core.money import ledger_text, usage_text
from config.core.transactions import joined_atomic, patiently, retrying
from pricing.price_book import ModelPrice
from sessions_app.context.window import Utterance, Window
from sessions_app.llm import gateway
from sessions_app.llm.types import ChatRequest, ChatResult
from sessions_app.turns import rows
from sessions_app.turns.event_log import EventLog
from sessions_app.turns.meter import Meter
from sessions_app.turns.opening import hold_for, price_of, window_for
from sessions_app.turns.outcome import OUT_OF_CREDITS, RunReport
from sessions_app.turns.planning import Speaker, Warning
from sessions_app.turns.rows import StepRow
from sessions_app.turns.turn import OpenedTurn

log = structlog.get_logger(__name__)
# Between two calls the database may be away for this long; the turn's own time limit bounds it, too.
_RESERVE_PATIENCE_S = 120


class TurnLost(Exception):
    """The turn is no longer ours: its lease ran out and somebody else has settled it, or is about to."""


class Asker:
    """The graph's way to a model. Calls come one after another; the meter and the journal keep their order."""

    def __init__(self, *, turn: OpenedTurn, meter: Meter, log_: EventLog, report: RunReport) -> None:
        self.turn = turn
        self.meter = meter
        self.events = log_
        self.report = report
        # Set while no call is under way: a stopped run waits for its last call to reach the meter before it settles.
        self.quiet = asyncio.Event()
        self.quiet.set()

    async def ask(self, speaker: Speaker, heard: tuple[Utterance, ...]) -> ChatResult | None:
        """One call, from the hold to the meter. None when the wallet does not allow it. Raises: TurnLost."""
        prepared = self.turn.prepared
        price = price_of(prepared.book, speaker.model_alias)
        window = self._window(speaker, heard)
        step = self.meter.begin(speaker, purpose="agent")
        # The first call's step and hold were written by opening.
        if step.step_index > 1 and not await self._reserve(hold_for(window, price, prepared.book)):
            return None
        return await self._call(step, price, window)

    def _window(self, speaker: Speaker, heard: tuple[Utterance, ...]) -> Window:
        prepared = self.turn.prepared
        return window_for(
            speaker,
            book=prepared.book,
            goal=prepared.goal,
            history=prepared.history,
            request=self.turn.request,
            answers=heard,
        )

    async def _reserve(self, next_call: Decimal) -> bool:
        """Journal what has finished and what begins, and extend the hold to cover it: one small transaction."""
        steps = self.meter.unjournaled()
        needed = self.meter.charged + next_call

        def unit() -> None:
            with joined_atomic():
                if not rows.journal(turn_id=self.turn.id, claim=self.turn.lease_claim, steps=steps):
                    raise TurnLost
                ledger.extend_hold(
                    user_id=self.turn.request.user_id,
                    reference=self.turn.reference,
                    amount=needed,
                    enforcement=self.turn.prepared.enforcement,
                )

        try:
            await patiently(lambda: retrying(unit), patience_s=_RESERVE_PATIENCE_S)
        except HoldClosed:
            raise TurnLost from None
        except InsufficientCredits as refusal:
            self._warn(refusal)
            return False
        self.meter.journaled(steps)
        return True

    def _warn(self, refusal: InsufficientCredits) -> None:
        warning = Warning(OUT_OF_CREDITS, f"The credits do not cover a further call. {refusal.detail}")
        self.report.stopped_by = OUT_OF_CREDITS
        self.report.warnings.append(warning)
        self.events.emit("warning", {"code": warning.code, "detail": warning.detail})

    async def _call(self, step: StepRow, price: ModelPrice, window: Window) -> ChatResult:
        speaker = step.speaker
        self.events.emit(
            "agent_started",
            {
                "agent_key": speaker.agent_key,
                "agent_name": speaker.agent_name,
                "model_alias": speaker.model_alias,
                "step": step.step_index,
            },
        )

        def metered(result: ChatResult) -> None:
            self._finished(step, price, result)

        request = ChatRequest(
            provider=price.provider,
            model=price.provider_model,
            messages=window.messages,
            max_output_tokens=window.output_tokens,
            request_id=self.meter.request_id(step),
        )
        self.quiet.clear()
        try:
            return await gateway.complete(
                request, on_delta=lambda text: self.events.delta(speaker.agent_key, text), report=metered
            )
        finally:
            self.quiet.set()

    def _finished(self, step: StepRow, price: ModelPrice, result: ChatResult) -> None:
        """The gateway reports every call exactly once, also one that was cancelled: here it enters the meter."""
        call = self.meter.finish(step, result, price=price)
        if result.failure is not None:
            self.report.failure_details.setdefault(result.failure.code, result.failure.detail)
        self.events.emit(
            "agent_finished",
            {
                "agent_key": step.speaker.agent_key,
                "status": result.status,
                "usage": {
                    "input_tokens_fresh": call.pools.input_fresh + call.pools.input_cache_write,
                    "input_tokens_cached": call.pools.input_cached,
                    "output_tokens": call.pools.output,
                },
                "credits_burned": usage_text(call.rated.credits_burned),
                "credits_charged": ledger_text(call.rated.credits_charged),
            },
        )
        log.info(
            "llm_call",
            step=step.step_index,
            agent_key=step.speaker.agent_key,
            model_alias=price.model_alias,
            status=result.status,
            latency_ms=result.latency_ms,
            attempts=result.attempts,
            usage_source=result.usage_source,
        )

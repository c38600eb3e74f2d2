"""One model call of a running turn: journal and hold before it, meter and events around it. And holds for tools."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog

from billing import ledger
from billing.errors import HoldClosed, InsufficientCredits, SpendingLimitReached
from billing.ledger import NO_MODEL, MeteredCall, Share
from billing.ledger.states import Enforcement
from config.core.money import ledger_text, usage_text
from config.core.transactions import joined_atomic, patiently, retrying
from pricing.price_book import ModelPrice
from sessions_app import metrics, tracing
from sessions_app.llm import gateway
from sessions_app.llm.types import ChatRequest, ChatResult, Message, ResponseSchema, ToolChoice, ToolSpec
from sessions_app.orchestration.asks import Purpose
from sessions_app.turns import rows
from sessions_app.turns.event_log import EventLog
from sessions_app.turns.meter import Meter
from sessions_app.turns.outcome import CHOICE, RunReport, is_choice
from sessions_app.turns.planning import Speaker, Warning
from sessions_app.turns.preparing import most, price_of
from sessions_app.turns.rows import StepRow
from sessions_app.turns.turn import OpenedTurn

log = structlog.get_logger(__name__)
# Between two calls the database may be away for this long; the turn's own time limit bounds it, too.
_RESERVE_PATIENCE_S = 120
# What decides (routing, a choice of tools, notes) takes the likeliest; the same question has the same answer.
DECIDING_TEMPERATURE, SPEAKING_TEMPERATURE = 0.0, 0.2


class TurnLost(Exception):
    """The turn is no longer ours: its lease ran out and somebody else has settled it, or is about to."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is ready to be made. `input_tokens` and `output_tokens` bound it.

    `streams`: the client sees its text. `notice`: what the client is told just before it.
    """

    speaker: Speaker
    purpose: Purpose
    messages: tuple[Message, ...]
    schema: ResponseSchema | None
    input_tokens: int
    output_tokens: int
    context: dict[str, Any]
    streams: bool
    notice: Warning | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"


class Caller:
    """Calls come one after another; the meter and the journal keep their order."""

    def __init__(self, *, turn: OpenedTurn, meter: Meter, events: EventLog, report: RunReport) -> None:
        self.turn = turn
        self.meter = meter
        self.events = events
        self.report = report
        # Why the last call was not made: the wallet's refusal, or a limit's.
        self.refusal: InsufficientCredits | SpendingLimitReached | None = None
        # Set while no call is under way: a stopped run waits for its last call to reach the meter before it settles.
        self.quiet = asyncio.Event()
        self.quiet.set()
        # What opening has put aside before the first call, its journaled step included. None where it may be less than
        # what was prepared since.
        self._held = turn.prepared.first_hold + turn.prepared.summary_hold if turn.is_held_for else None

    async def make(self, call: Call, *, instead: Call | None = None) -> ChatResult | None:
        """One call, from the hold to the meter. None when the wallet does not allow it. Raises: TurnLost.

        `instead`: what opening held for, to be made where the wallet allows no more than that.
        """
        price = price_of(self.turn.prepared.book, call.speaker.model_alias)
        is_first = not self.meter.steps
        for option in (call, instead):
            if option is None:
                continue
            needed = most(option.input_tokens, option.output_tokens, price, self.turn.prepared.book)
            step = self.meter.begin(option.speaker, purpose=option.purpose, context=option.context)
            # The first step was journaled, and held for, by opening.
            if (is_first and self._held is not None and needed <= self._held) or await self._reserve(
                Share(price.model_alias, needed, option.speaker.agent_id), enforcement=self._enforcement(option.purpose)
            ):
                return await self._made(step, price, option)
            self.meter.forget(step)
        return None

    def warn(self, code: str, detail: str) -> None:
        """Tell the client, in the stream and on the turn."""
        self.report.warnings.append(Warning(code, detail))
        self.events.emit("warning", {"code": code, "detail": detail})

    async def hold_for_tools(
        self, cost: Decimal, *, agent_id: UUID
    ) -> InsufficientCredits | SpendingLimitReached | None:
        """Before tools run, which may take long: journal what has finished, and hold what they may cost, in credits.

        Why the wallet or a limit does not allow it; None where it does. Raises: TurnLost.
        """
        if cost == 0:
            await self.journal()
            return None
        enforcement = self.turn.prepared.enforcement
        return None if await self._reserve(Share(NO_MODEL, cost, agent_id), enforcement=enforcement) else self.refusal

    async def journal(self) -> None:
        """Journal what has finished. Raises: TurnLost."""
        steps = self.meter.unjournaled()

        def unit() -> bool:
            with joined_atomic():
                return rows.journal(turn_id=self.turn.id, claim=self.turn.lease_claim, steps=steps)

        if not await patiently(lambda: retrying(unit), patience_s=_RESERVE_PATIENCE_S):
            raise TurnLost
        self.meter.journaled(steps)

    def _enforcement(self, purpose: Purpose) -> Enforcement:
        enforcement = self.turn.prepared.enforcement
        # Notes and titles are left out where they cannot be paid: no turn would have ended for them.
        return "off" if enforcement == "warn" and purpose == "summary" else enforcement

    async def _reserve(self, next_share: Share, *, enforcement: Enforcement) -> bool:
        """Journal what has finished and what begins, and extend the hold to cover it: one small transaction."""
        steps = self.meter.unjournaled()
        shares = [*self.meter.charged(), next_share]

        def unit() -> None:
            with joined_atomic():
                if not rows.journal(turn_id=self.turn.id, claim=self.turn.lease_claim, steps=steps):
                    raise TurnLost
                ledger.extend_hold(
                    user_id=self.turn.request.user_id,
                    reference=self.turn.reference,
                    shares=shares,
                    enforcement=enforcement,
                )

        self.refusal = None
        try:
            await patiently(lambda: retrying(unit), patience_s=_RESERVE_PATIENCE_S)
        except HoldClosed:
            raise TurnLost from None
        except (InsufficientCredits, SpendingLimitReached) as refusal:
            self.refusal = refusal
            return False
        self.meter.journaled(steps)
        return True

    async def _made(self, step: StepRow, price: ModelPrice, call: Call) -> ChatResult:
        speaker = step.speaker
        if call.notice is not None:
            self.warn(call.notice.code, call.notice.detail)
        self.events.emit("agent_started", {**_who(step), "agent_name": speaker.agent_name, "step": step.step_index})
        request = ChatRequest(
            provider=price.provider,
            model=price.provider_model,
            messages=call.messages,
            max_output_tokens=call.output_tokens,
            request_id=self.meter.request_id(step),
            temperature=DECIDING_TEMPERATURE if call.schema else SPEAKING_TEMPERATURE,
            response_schema=call.schema,
            tools=call.tools,
            tool_choice=call.tool_choice,
        )

        def said(text: str) -> None:
            if call.streams:
                self.events.delta(speaker.agent_key, text)

        traced = tracing.call_span(
            request,
            purpose=call.purpose,
            agent_key=speaker.agent_key,
            agent_id=speaker.agent_id,
            session_id=self.meter.ids.session_id,
        )
        self.quiet.clear()
        try:
            with traced as span:
                return await gateway.complete(
                    request,
                    on_delta=said,
                    report=lambda result: span.finished(result, self._finished(step, price, result)),
                )
        finally:
            self.quiet.set()

    def _finished(self, step: StepRow, price: ModelPrice, result: ChatResult) -> MeteredCall:
        """The gateway reports every call exactly once, also one that was cancelled: here it enters the meter."""
        call = self.meter.finish(step, result, price=price)
        if result.failure is not None:
            self.report.failure_details.setdefault(result.failure.code, result.failure.detail)
        self.events.emit(
            "agent_finished",
            {
                **_who(step),
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
        metrics.call_finished(result=result, call=call)
        log.info(
            "llm_call",
            step=step.step_index,
            purpose=step.purpose,
            agent_key=step.speaker.agent_key,
            model_alias=price.model_alias,
            status=result.status,
            latency_ms=result.latency_ms,
            attempts=result.attempts,
            usage_source=result.usage_source,
        )
        return call


def _who(step: StepRow) -> dict[str, Any]:
    return {
        "agent_key": step.speaker.agent_key,
        "model_alias": step.speaker.model_alias,
        "purpose": step.purpose,
        # A model's choice of a tool, made in words, is nothing that the client reads.
        **({"task": CHOICE} if is_choice(step.context) else {}),
    }

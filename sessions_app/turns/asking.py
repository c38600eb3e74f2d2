"""The graph's way to a model: what each call of a running turn reads, its fallback, and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from pricing.price_book import ModelPrice
from sessions_app import metrics
from sessions_app.context import summarising, titling
from sessions_app.context.conversation import Summary
from sessions_app.context.summarising import SummaryDue
from sessions_app.context.window import Reader, Window, compose, input_budget
from sessions_app.errors import ContextBudgetExceeded
from sessions_app.llm.estimate import input_bound
from sessions_app.llm.types import ChatResult, ResponseSchema
from sessions_app.orchestration.asks import REFUSES_SCHEMA, Ask
from sessions_app.tools.using import Room
from sessions_app.turns.calling import Call, Caller
from sessions_app.turns.counting import exactly
from sessions_app.turns.outcome import CHOICE, OUT_OF_CREDITS, RunReport, is_spoken, why_not
from sessions_app.turns.planning import Speaker, Warning
from sessions_app.turns.preparing import chain_of, counting, find_price, price_of, reader_of
from sessions_app.turns.tool_loop import ToolLoop
from sessions_app.turns.turn import OpenedTurn

log = structlog.get_logger(__name__)
FALLBACK_USED = "fallback_used"
SUMMARY_FALLBACK = "summary_fallback"


class Attempt(Protocol):
    """One call in the name of a speaker; `notice` is said to the client just before it is made."""

    def __call__(self, speaker: Speaker, notice: Warning | None, /) -> Awaitable[ChatResult | None]: ...


@dataclass(frozen=True, slots=True)
class NotAsked:
    """The reply to a question that its model cannot read, however much is pruned: no call was made, nothing is billed.

    Opening has let the turn in, but a repair is longer than what it repairs, and a tokenizer may be away by now.
    """

    text: str = ""
    failed: bool = True
    http_status: int | None = None


class Asker:
    """One turn's questions, one after another. Knows the conversation as it stands after the turn's own notes."""

    def __init__(self, *, turn: OpenedTurn, caller: Caller, report: RunReport) -> None:
        self.turn = turn
        self.caller = caller
        self.report = report
        self.conversation = turn.prepared.conversation
        # What all tools of the turn may still say.
        self.tool_room = Room()
        # The first answer's call as opening planned it by bounds. Its hold is there, so it can be made in any case.
        self._opened_with: Window | None = turn.prepared.window

    async def ask(self, question: Ask) -> ChatResult | NotAsked | None:
        """One answer. None when the wallet does not allow the call. Raises: TurnLost."""
        try:
            result = await self._answered(question)
        except ContextBudgetExceeded as refusal:
            log.warning("question_too_long", purpose=question.purpose, model_alias=refusal.model_alias)
            if is_spoken(question.purpose, None):
                self.report.shortfalls.append(refusal.code)
                self.report.failure_details.setdefault(refusal.code, refusal.detail)
            return NotAsked()
        if result is None:
            if self.caller.refusal is not None:
                code, detail = self.caller.refusal.code, self.caller.refusal.detail
                self.caller.warn(code, f"A further call was not made. {detail}")
                self.report.stopped_by = code
                self.report.refused_with = self.caller.refusal.members
        elif is_spoken(question.purpose, None) and result.status != "success":
            self.report.shortfalls.append(result.failure.code if result.failure else result.status)
        return result

    async def _answered(self, question: Ask) -> ChatResult | None:
        if question.purpose == "agent" and question.speaker.agent_key in self.turn.prepared.plan.toolkits:
            return await ToolLoop(self, question).answer()
        return await self.attempt(question)

    async def attempt(self, question: Ask) -> ChatResult | None:
        """One model call, or a fallback's. Raises: TurnLost, ContextBudgetExceeded."""
        return await self._or_fallback(question.speaker, partial(self._asked, question))

    async def summarise(self) -> None:
        """Make the notes that are due: the turn's first call. Without them its other calls are pruned."""
        due = self.turn.prepared.summary
        reason = self.turn.prepared.summary_fallback
        if due is not None:
            housekeeper = self.turn.prepared.plan.housekeeper
            result = await self._or_fallback(housekeeper, partial(self._noted, due, summarising.SCHEMA))
            if result is not None and result.http_status in REFUSES_SCHEMA:
                result = await self._or_fallback(housekeeper, partial(self._noted, due, None))
            reason = self._took_notes(due, result)
        if reason:
            self.report.summary_fallback = reason
            metrics.summary_fell_back(reason)
            log.warning("summary_fallback", reason=reason)
            self.caller.warn(
                SUMMARY_FALLBACK, f"Old messages could not be summed up ({reason}); what does not fit is left out."
            )

    async def entitle(self, how: str) -> None:
        """Name an untitled session after its first exchange. A title that cannot be made is no failure of the turn."""
        spoken = (step for step in reversed(self.caller.meter.steps) if is_spoken(step.purpose, step.context))
        answer = next((step.content for step in spoken), "")
        if how == "off" or not answer or not self.turn.prepared.is_untitled:
            return
        self.report.title = titling.from_message(self.turn.request.message)
        if how != "model" or self.report.stopped_by is not None:
            # Where the credits did not cover an answer, the rest of them is not for a title.
            return
        housekeeper = self.turn.prepared.plan.housekeeper
        if find_price(self.turn.prepared.book, housekeeper.model_alias) is not None:
            result = await self._or_fallback(housekeeper, partial(self._entitled, answer))
            named = titling.from_answer(result.text) if result is not None else ""
            self.report.title = named or self.report.title

    async def _or_fallback(self, speaker: Speaker, attempt: Attempt) -> ChatResult | None:
        """The first attempt that gives text or is not the provider's failure; each failed one may name the next.

        None when the wallet does not allow the first. One that it does not allow as a fallback is left out: then the
        provider's failure stands.
        """
        result = await attempt(speaker, None)
        asked = speaker.model_alias
        for price in chain_of(self.turn.prepared.book, asked)[1:]:
            if result is None or result.failure is None or result.text or not self._reads_enough(price):
                break
            fallback = price.model_alias
            said = (
                f"{asked} failed ({result.failure.code}); {fallback} answers for @{speaker.agent_key} at its own price."
            )
            try:
                again = await attempt(replace(speaker, model_alias=fallback), Warning(FALLBACK_USED, said))
            except ContextBudgetExceeded:
                # It reads less than its context promised, because nobody counts its tokens: the failure stands.
                break
            if again is None:
                if self.caller.refusal is not None:
                    code, detail = self.caller.refusal.code, self.caller.refusal.detail
                    self.caller.warn(code, f"{asked} failed, and {fallback} would cost more. {detail}")
                break
            metrics.fallback_used(asked=asked, used=fallback)
            asked, result = fallback, again
        return result

    def _reads_enough(self, price: ModelPrice) -> bool:
        """Whether a fallback's context has room for what the failed call could not leave out."""
        failed = self.caller.meter.steps[-1].context or {}
        most = self.turn.request.max_output_tokens
        reads = input_budget(context_tokens=price.context_tokens, max_output_tokens=most)
        return bool(failed.get("required_tokens", 0) <= reads)

    async def _asked(self, question: Ask, speaker: Speaker, notice: Warning | None) -> ChatResult | None:
        question = replace(question, speaker=speaker)
        opened_with, self._opened_with = self._opened_with, None
        instead = self._call(question, opened_with, notice) if opened_with else None
        window = await self._window(question, opened_with)
        return await self.caller.make(self._call(question, window, notice), instead=instead)

    async def _window(self, question: Ask, opened_with: Window | None) -> Window:
        prepared = self.turn.prepared
        reader = self.reader_of(question)
        price = price_of(prepared.book, reader.model_alias)
        exact = await exactly(reader, self.conversation, question.answers, price)
        try:
            return compose(reader, self.conversation, question.answers, count=counting(exact))
        except ContextBudgetExceeded:
            # Text with more tokens than its bound. By the bound opening has let it in, so the provider is to judge.
            pass
        try:
            return compose(reader, self.conversation, question.answers)
        except ContextBudgetExceeded:
            # Opening counted it exactly, and the tokenizer has gone since.
            if opened_with is None:
                raise
            return opened_with

    def reader_of(self, question: Ask) -> Reader:
        prepared = self.turn.prepared
        return reader_of(question, prepared.book, self.turn.request, prepared.plan, mark=self.conversation.mark)

    def _call(self, question: Ask, window: Window, notice: Warning | None) -> Call:
        # A choice of a tool in words is between us and the model.
        context = {"task": CHOICE} if window.is_choice else {}
        return Call(
            speaker=question.speaker,
            purpose=question.purpose,
            messages=window.messages,
            schema=window.schema,
            input_tokens=window.input_tokens,
            output_tokens=window.output_tokens,
            context={**asdict(window.reading), **context},
            streams=question.streams and not window.is_choice,
            notice=notice,
            tools=window.tools,
            tool_choice=window.tool_choice,
        )

    async def _noted(
        self, due: SummaryDue, schema: ResponseSchema | None, speaker: Speaker, notice: Warning | None
    ) -> ChatResult | None:
        context = {
            "task": "notes",
            "required_tokens": due.input_tokens,
            "read_messages": due.read_messages,
            "read_tokens": due.read_tokens,
        }
        call = Call(
            speaker=speaker, purpose="summary", messages=due.messages, schema=schema,
            input_tokens=due.input_tokens, output_tokens=due.output_tokens, context=context, streams=False,
            notice=notice,
        )  # fmt: skip
        return await self.caller.make(call)

    async def _entitled(self, answer: str, speaker: Speaker, notice: Warning | None) -> ChatResult | None:
        messages = titling.messages(self.turn.request.message, answer)
        call = Call(
            speaker=speaker, purpose="summary", messages=messages, schema=None, input_tokens=input_bound(messages),
            output_tokens=titling.MAX_OUTPUT_TOKENS, context={"task": "title"}, streams=False, notice=notice,
        )  # fmt: skip
        return await self.caller.make(call)

    def _took_notes(self, due: SummaryDue, result: ChatResult | None) -> str:
        """Let the notes stand for what they were made of. Returns why they cannot, or an empty string."""
        if result is None:
            return self.caller.refusal.code if self.caller.refusal else OUT_OF_CREDITS
        notes = summarising.parse(result.text) if result.status == "success" else None
        if notes is None:
            return why_not(self.caller.meter.steps)
        assert due.through.message_id is not None  # noqa: S101 - history has ids
        summary = Summary(notes, due.through.turn_index, due.through.message_id, due.messages_in_all)
        self.conversation = summarising.apply(self.conversation, summary)
        metrics.summary_made()
        log.info("summary_made", messages=due.read_messages, through_turn_index=due.through.turn_index)
        return ""

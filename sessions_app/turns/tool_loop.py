"""One agent's answer with tools: model, tools, model, … until it answers, or has to.

Every model step is a call like any other: journaled, held for and billed on its own. Tools that have a price are held
for before they run. What tools give is journaled with the step that asked for them, so a turn that dies in between
keeps it, and its agent sees it when it is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from config.core.money import ZERO
from config.core.transactions import in_thread
from pricing.rating import rate_tool
from sessions_app import metrics
from sessions_app.context.window import bound_count, input_budget, parts_of, required_tokens
from sessions_app.llm.estimate import BOUND_BYTES_PER_TOKEN
from sessions_app.llm.types import ChatResult, ToolCall
from sessions_app.orchestration.asks import REFUSES_SCHEMA, Ask
from sessions_app.tools import events, limits
from sessions_app.tools.base import Scope
from sessions_app.tools.permits import ids_of, permit_of
from sessions_app.tools.talk import ToolStep, chosen
from sessions_app.tools.using import Outcome, ToolUse
from sessions_app.turns.outcome import is_choice

if TYPE_CHECKING:
    from sessions_app.turns.asking import Asker

# What the next call needs beside results: its own words around them, and those of the answer to them.
_SPARE_TOKENS = 400
# A model that asks for more at once has lost its way; the rest is not even answered.
_CALLS_READ = 2 * limits.CALLS


class ToolLoop:
    def __init__(self, asker: Asker, question: Ask) -> None:
        self._asker = asker
        self._question = question
        self._steps: list[ToolStep] = []
        self._is_off = False
        turn, speaker = asker.turn, question.speaker
        ids = {
            "user_id": turn.request.user_id, "room_id": turn.prepared.room_id, "agent_id": speaker.agent_id,
        }  # fmt: skip
        self._use = ToolUse(
            scope=Scope(**ids, files=ids_of(speaker.file_ids), room_bytes=0),
            offered=turn.prepared.plan.toolkits[speaker.agent_key].names,
            permit=partial(in_thread, partial(permit_of, **ids)),
            room=asker.tool_room,
            told=self._told,
            ended=self._ended,
        )

    async def answer(self) -> ChatResult | None:
        """None when the wallet does not allow a further call, of the model or of a tool.

        What was found out by then is kept and billed.

        Raises: TurnLost, ContextBudgetExceeded.
        """
        result = None
        for number in range(1, limits.MODEL_STEPS + 1):
            is_off = self._is_off or self._use.is_over or number == limits.MODEL_STEPS
            question = replace(self._question, tool_steps=tuple(self._steps), tools_off=is_off)
            result = await self._asker.attempt(question)
            if result is None or is_off:
                break
            if self._refuses_choice(result):
                self._is_off = True
                continue
            if result.status != "success":
                break
            calls = self._calls_of(result)
            if calls:
                if not await self._use_tools(question, "" if self._was_choice() else result.text, calls):
                    return None
            elif self._was_choice():
                self._is_off = True
            else:
                break
        return result

    def _was_choice(self) -> bool:
        return is_choice(self._asker.caller.meter.steps[-1].context)

    def _refuses_choice(self, result: ChatResult) -> bool:
        """A provider that knows no structured output: then the agent answers without tools."""
        return self._was_choice() and result.http_status in REFUSES_SCHEMA

    def _calls_of(self, result: ChatResult) -> Sequence[ToolCall]:
        if not self._was_choice():
            return result.tool_calls[:_CALLS_READ]
        call = chosen(result.text, call_id="call_0")
        return () if call is None else (call,)

    async def _use_tools(self, question: Ask, text: str, calls: Sequence[ToolCall]) -> bool:
        """False where the wallet does not allow what they may cost: then none of them is run."""
        caller = self._asker.caller
        prices = (self._price(call.name) for call in self._use.to_run(calls))
        refusal = await caller.hold_for_tools(sum(prices, ZERO), agent_id=question.speaker.agent_id)
        try:
            if refusal is None:
                await self._use.answer(calls, room_bytes=self._room_bytes(question, text, calls))
            else:
                self._use.refuse(calls, code=refusal.code)
        finally:
            # Also where the turn was cancelled in the middle.
            caller.meter.used_tools(self._use.last)
        self._steps.append(ToolStep(text, tuple(self._use.last)))
        return refusal is None

    def _price(self, tool_name: str) -> Decimal:
        return self._asker.turn.prepared.book.tool_price(tool_name)

    def _room_bytes(self, question: Ask, text: str, calls: Sequence[ToolCall]) -> int:
        """What the model's context has left for results, when everything else that can be is left out."""
        empty = ToolStep(text, tuple(Outcome(call, "success", "") for call in calls))
        reader = self._asker.reader_of(replace(question, tool_steps=(*self._steps, empty)))
        conversation = replace(self._asker.conversation, summary=None, history=(), traces=())
        required = required_tokens(parts_of(reader, conversation, ()), reader, bound_count)
        budget = input_budget(context_tokens=reader.context_tokens, max_output_tokens=reader.max_output_tokens)
        return max(0, budget - required - _SPARE_TOKENS) * BOUND_BYTES_PER_TOKEN

    def _told(self, call: ToolCall) -> None:
        key = self._question.speaker.agent_key
        self._asker.caller.events.emit("tool_started", events.started(key, call.name, call.arguments))

    def _ended(self, outcome: Outcome) -> None:
        key = self._question.speaker.agent_key
        rated = rate_tool(status=outcome.status, credits_per_call=self._price(outcome.call.name))
        shown = events.finished(key, outcome.call.name, outcome.status, outcome.latency_ms, rated.credits_charged)
        self._asker.caller.events.emit("tool_finished", shown)
        metrics.tool_called(outcome.call.name, outcome.status)

"""A turn's meter.

Every call that the gateway makes, and every call of a tool, is counted here, rated at the pinned price. No database, no
waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from billing.ledger import NO_MODEL, MeteredCall, MeteredTool, Share, in_order
from config.core.ids import uuid7
from pricing.price_book import ModelPrice, PriceBook
from pricing.rating import LARGEST_CHARGE, TokenPools, Weights, rate, rate_tool
from sessions_app.llm.types import ChatResult
from sessions_app.tools.traces import encode
from sessions_app.tools.using import Outcome
from sessions_app.turns import journal
from sessions_app.turns.planning import Speaker
from sessions_app.turns.rows import StepRow


@dataclass(frozen=True, slots=True)
class TurnIds:
    turn_id: UUID
    session_id: UUID
    room_id: UUID
    user_id: UUID


def metered(result: ChatResult, *, price: ModelPrice, weights: Weights, **call: Any) -> MeteredCall:
    """Rate a call that ended, however it did. `call`: the other members of a `MeteredCall`, which say what it was."""
    pools, flags = result.pools, result.usage_flags
    rated = rate(pools, multiplier=price.multiplier, weights=weights)
    if rated.credits_charged > LARGEST_CHARGE:
        # No call costs that; counts which say so are a provider's fault. Settling must never fail for them.
        pools, flags = TokenPools(), (*flags, "absurd_charge")
        rated = rate(pools, multiplier=price.multiplier, weights=weights)
    return MeteredCall(
        event_id=uuid7(),
        provider=price.provider,
        model_alias=price.model_alias,
        provider_model=result.provider_model,
        pools=pools,
        rated=rated,
        multiplier=price.multiplier,
        provider_cost_usd=price.provider_cost_usd(pools),
        usage_source=result.usage_source,
        usage_flags=flags,
        raw_usage=result.raw_usage,
        latency_ms=result.latency_ms,
        status=result.status,
        **call,
    )


def lost_with_its_process(price: ModelPrice) -> ChatResult:
    """What is known of a call whose process died while it ran: nothing, and nothing is billed."""
    return ChatResult(
        status="error", text="", pools=TokenPools(), usage_source="none", raw_usage=None,
        provider_model=price.provider_model, finish_reason=None, failure=None, usage_flags=("process_died",),
        latency_ms=0, first_text_ms=None, attempts=0,
    )  # fmt: skip


class Meter:
    """Steps in the order in which they began; a finished one carries its rated call."""

    def __init__(self, *, ids: TurnIds, book: PriceBook, first_step_id: UUID | None = None) -> None:
        self.ids = ids
        self.book = book
        self.steps: list[StepRow] = []
        self.calls: list[MeteredCall] = []
        self._first_step_id = first_step_id
        self._journaled: dict[UUID, tuple[str, bool]] = {}

    def charged(self) -> list[Share]:
        """What has finished costs, calls of models and of tools, by alias and agent.

        In the order in which it will be billed, so that scoped lots pay for what the gate has let them pay for.
        """
        shares: list[Share] = []
        for item in in_order(self.calls, self.tools()):
            alias = NO_MODEL if isinstance(item, MeteredTool) else item.model_alias
            share = Share(alias, item.rated.credits_charged, item.agent_id)
            if shares and (shares[-1].model_alias, shares[-1].agent_id) == (alias, item.agent_id):
                shares[-1] = replace(share, amount=shares[-1].amount + share.amount)
            elif share.amount > 0:
                shares.append(share)
        return shares

    def tools(self) -> list[MeteredTool]:
        """The tool calls so far in their order, rated at the pinned price: from the steps, as the journal has them."""
        told = [(step, tool) for step in self.steps for tool in (step.context or {}).get("tools", ())]
        return [self._tool(step, tool, index) for index, (step, tool) in enumerate(told, start=1)]

    def _tool(self, step: StepRow, tool: Mapping[str, Any], index: int) -> MeteredTool:
        price = self.book.tool_price(tool["tool_name"])
        return MeteredTool(
            event_id=UUID(tool["event_id"]),
            call_index=index,
            asked_by=step.step_index,
            tool_name=tool["tool_name"],
            arguments_hash=tool["arguments_hash"],
            status=tool["status"],
            error_code=tool["code"],
            latency_ms=tool["latency_ms"],
            result_bytes=tool["result_bytes"],
            called_at=datetime.fromisoformat(tool["called_at"]),
            rated=rate_tool(status=tool["status"], credits_per_call=price),
            room_id=self.ids.room_id,
            session_id=self.ids.session_id,
            turn_id=self.ids.turn_id,
            step_id=step.id,
            agent_id=step.speaker.agent_id,
            agent_key=step.speaker.agent_key,
        )

    def begin(self, speaker: Speaker, *, purpose: str, context: dict[str, Any] | None = None) -> StepRow:
        index = len(self.steps) + 1
        id_ = self._first_step_id if index == 1 and self._first_step_id else uuid7()
        step = StepRow(id_, index, speaker, purpose, "running", started_at=datetime.now(UTC), context=context)
        self.steps.append(step)
        return step

    def forget(self, step: StepRow) -> None:
        """The step that has just begun will not be made into a call."""
        self.steps.remove(step)

    def finish(self, step: StepRow, result: ChatResult, *, price: ModelPrice) -> MeteredCall:
        """Rate a call that ended, however it did."""
        call = metered(
            result,
            price=price,
            weights=self.book.weights,
            call_index=step.step_index,
            purpose=step.purpose,
            request_id=self.request_id(step),
            called_at=step.started_at or datetime.now(UTC),
            room_id=self.ids.room_id,
            session_id=self.ids.session_id,
            turn_id=self.ids.turn_id,
            step_id=step.id,
            agent_id=step.speaker.agent_id,
        )
        self.calls.append(call)
        self.steps[step.step_index - 1] = replace(
            step,
            status=result.status,
            content=result.text,
            error_code=result.failure.code if result.failure else "",
            call=journal.encode(call),
            finished_at=datetime.now(UTC),
        )
        return call

    def used_tools(self, outcomes: Sequence[Outcome]) -> None:
        """What the call that ended last asked for was done: it belongs to its step."""
        step = self.steps[-1]
        context = {**(step.context or {}), "tools": [encode(outcome) for outcome in outcomes]}
        self.steps[-1] = replace(step, context=context)

    def lose(self, step: StepRow, *, price: ModelPrice) -> MeteredCall:
        """A call that was running when its process died: an event without usage, billed nothing."""
        return self.finish(step, lost_with_its_process(price), price=price)

    def request_id(self, step: StepRow) -> str:
        """What the provider is told as X-Request-ID, and the event keeps."""
        return f"{self.ids.turn_id}-{step.step_index}"

    def unjournaled(self) -> list[StepRow]:
        return [step for step in self.steps if self._journaled.get(step.id) != _state(step)]

    def ended(self) -> list[StepRow]:
        """The steps that the journal does not have yet and whose calls have ended."""
        return [step for step in self.unjournaled() if step.status != "running"]

    def journaled(self, steps: list[StepRow]) -> None:
        for step in steps:
            self._journaled[step.id] = _state(step)


def _state(step: StepRow) -> tuple[str, bool]:
    """What of a step changes after it was journaled: how it ended, and what tools gave after that."""
    return step.status, "tools" in (step.context or {})

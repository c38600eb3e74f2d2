"""What became of a completion: the same whether it has just ended or is read again by its key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing import ledger
from billing.ledger import MeteredCall, Reference, Settlement
from config.core.money import usage_text
from sessions_app.completions.errors import CompletionFailed, CompletionInProgress
from sessions_app.completions.opening import RESOURCE
from sessions_app.llm.tool_wire import calls_body
from sessions_app.llm.types import ChatResult
from sessions_app.models import Completion

# What OpenAI's clients know; providers have more words for it.
_FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls")
# A call that we ended: only who still waits for it, or asks again by its key, ever reads this.
_STOPPED = ("provider_unavailable", "The call was stopped before its answer was complete.")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider said, and what it counted. `failure` is (code, detail) where it did not end well.

    `tool_calls`: what the model wants called, as it is sent; none where it broke off, because they would not be whole.
    """

    text: str
    finish_reason: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    credits_burned: str
    failure: tuple[str, str] | None
    tool_calls: tuple[dict[str, Any], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing came, so that there is nothing to pay for either."""
        return not self.text and not self.output_tokens

    @property
    def status(self) -> str:
        if self.failure is None:
            return Completion.Status.COMPLETED
        return Completion.Status.FAILED if self.is_empty else Completion.Status.PARTIAL

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, and its money: `charged` and `balance_after` are credits at 8 places."""

    id: UUID
    model_alias: str
    created_at: datetime
    answer: Answer
    charged: Decimal
    balance_after: Decimal


def answer_of(result: ChatResult, call: MeteredCall) -> Answer:
    known = result.finish_reason in _FINISH_REASONS
    failure = _failure_of(result)
    return Answer(
        text=result.text,
        finish_reason="error" if failure else str(result.finish_reason) if known else "stop",
        input_tokens=call.pools.input_fresh + call.pools.input_cached + call.pools.input_cache_write,
        cached_tokens=call.pools.input_cached,
        output_tokens=call.pools.output,
        reasoning_tokens=call.pools.reasoning,
        credits_burned=usage_text(call.rated.credits_burned),
        failure=failure,
        tool_calls=() if failure else tuple(calls_body(result.tool_calls)),
    )


def _failure_of(result: ChatResult) -> tuple[str, str] | None:
    if result.status == "cancelled":
        return _STOPPED
    return (result.failure.code, result.failure.detail) if result.failure else None


def stored(row: Completion) -> Outcome:
    """What a key's first request gave.

    Raises: CompletionInProgress while it runs, CompletionFailed where its process died before there was an answer.
    """
    if row.status == Completion.Status.RUNNING:
        raise CompletionInProgress(row.id)
    if row.answer is None:
        raise CompletionFailed(
            code="provider_unavailable", detail="The first request with this key was cut off; ask with a new one."
        )
    failure = row.answer["failure"]
    calls = tuple(row.answer.get("tool_calls", ()))
    answer = Answer(**{**row.answer, "failure": tuple(failure) if failure else None, "tool_calls": calls})
    # Its hold is closed, so this writes nothing: it reads what was settled.
    money: Settlement = ledger.settle(
        user_id=row.user_id,
        reference=Reference(RESOURCE, row.id),
        calls=(),
        pricing_version=row.pricing_version,
        pricing_revision=row.pricing_revision,
    )
    return Outcome(row.id, row.model_alias, row.created_at, answer, money.charged, money.balance_after)

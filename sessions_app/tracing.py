"""The spans of turns and model calls, in the words of OpenTelemetry's GenAI conventions.

The conventions are still in development; these are the names of their release 0.1.0 (semantic-conventions-genai):
a turn is `invoke_workflow {mode}`, a call `chat {model}`. What has no name there is called `tallyroom.*`. Never in a
span: what users, agents and models say, their names for themselves, keys, and an error's text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from uuid import UUID

from billing.ledger import MeteredCall
from config.core import tracing
from config.core.metrics import word
from config.core.money import ledger_text
from sessions_app.llm.types import ChatRequest, ChatResult


class TurnSpan:
    def __init__(self, span: tracing.Span) -> None:
        self._span = span

    def ended(self, *, status: str, error_code: str = "", charged: Decimal | None = None, calls: int = 0) -> None:
        """What the commit of the settlement says."""
        if not tracing.is_on():
            return
        self._span.set(
            {
                "tallyroom.turn.status": status,
                "tallyroom.llm_calls": calls,
                "tallyroom.credits": None if charged is None else ledger_text(charged),
            }
        )
        if status in {"failed", "interrupted"} or error_code:
            self._span.fail(word(error_code or status))


class CallSpan:
    def __init__(self, span: tracing.Span) -> None:
        self._span = span

    def finished(self, result: ChatResult, call: MeteredCall) -> None:
        """What came of the call, and what it costs."""
        if not tracing.is_on():
            return
        pools = call.pools
        self._span.set(
            {
                "gen_ai.response.model": result.provider_model,
                "gen_ai.response.finish_reasons": [word(result.finish_reason)] if result.finish_reason else None,
                "gen_ai.response.time_to_first_chunk": _seconds(result.first_text_ms),
                # As the conventions count: all input, cached or not; reasoning is part of the output.
                "gen_ai.usage.input_tokens": pools.total - pools.output,
                "gen_ai.usage.output_tokens": pools.output,
                "gen_ai.usage.cache_read.input_tokens": pools.input_cached,
                "gen_ai.usage.cache_creation.input_tokens": pools.input_cache_write,
                "gen_ai.usage.reasoning.output_tokens": pools.reasoning,
                "tallyroom.model_alias": call.model_alias,
                "tallyroom.call.index": call.call_index,
                "tallyroom.call.status": result.status,
                "tallyroom.call.attempts": result.attempts,
                "tallyroom.usage_source": call.usage_source,
                # Text, because credits are decimals and span numbers are not.
                "tallyroom.credits": ledger_text(call.rated.credits_charged),
            }
        )
        if result.failure is not None:
            self._span.fail(result.failure.code)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


_NO_TURN, _NO_CALL = TurnSpan(tracing.NO_SPAN), CallSpan(tracing.NO_SPAN)


@contextmanager
def turn_span(*, turn_id: UUID, session_id: UUID, mode: str, recovered: bool = False) -> Iterator[TurnSpan]:
    """Around a turn's run, or around the recovery of one whose process died with its own span."""
    if not tracing.is_on():
        yield _NO_TURN
        return
    attributes: dict[str, tracing.Value | None] = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": mode,
        "gen_ai.conversation.id": str(session_id),
        "tallyroom.turn.id": str(turn_id),
        "tallyroom.turn.mode": mode,
        "tallyroom.turn.recovered": recovered or None,
    }
    with tracing.span(f"invoke_workflow {mode}", attributes) as span:
        yield TurnSpan(span)


@contextmanager
def call_span(
    request: ChatRequest,
    *,
    purpose: str,
    agent_key: str | None = None,
    agent_id: UUID | None = None,
    session_id: UUID | None = None,
) -> Iterator[CallSpan]:
    """Around one call of the gateway, retries included. `agent_key` is the agent's tag, not its free name."""
    if not tracing.is_on():
        yield _NO_CALL
        return
    attributes: dict[str, tracing.Value | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": request.provider,
        "gen_ai.request.model": request.model,
        "gen_ai.request.max_tokens": request.max_output_tokens,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "json" if request.response_schema else "text",
        "gen_ai.conversation.id": None if session_id is None else str(session_id),
        "gen_ai.agent.name": agent_key,
        "gen_ai.agent.id": None if agent_id is None else str(agent_id),
        "tallyroom.purpose": purpose,
    }
    with tracing.span(f"chat {request.model}", attributes, kind="client") as span:
        yield CallSpan(span)

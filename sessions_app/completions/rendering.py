"""Outcomes in the shapes that OpenAI's clients expect, with what it cost beside them.

Reference: https://platform.openai.com/docs/api-reference/chat/object and …/chat/streaming
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from billing.reports import is_low
from config.core.money import ledger_text
from pricing.price_book import PriceBook
from sessions_app.completions.errors import CompletionFailed
from sessions_app.completions.outcome import Outcome

DONE = b"data: [DONE]\n\n"
_PAYMENT_REQUIRED = 402
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


def body(outcome: Outcome) -> dict[str, Any]:
    """A `chat.completion`. Raises: CompletionFailed where nothing came but a failure."""
    refuse_empty(outcome)
    answer = outcome.answer
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message.update(content=answer.text or None, tool_calls=list(answer.tool_calls))
    return {
        **_head(outcome.id, outcome.created_at, outcome.model_alias, kind="chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason, "logprobs": None}],
        "usage": usage(outcome),
        "tallyroom": money(outcome),
    }


def refuse_empty(outcome: Outcome) -> None:
    """Raises: CompletionFailed where nothing came but a failure."""
    if outcome.answer.failure is not None and outcome.answer.is_empty:
        code, detail = outcome.answer.failure
        raise CompletionFailed(code=code, detail=detail)


def usage(outcome: Outcome) -> dict[str, Any]:
    answer = outcome.answer
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }


def money(outcome: Outcome) -> dict[str, Any]:
    return {
        "credits_burned": outcome.answer.credits_burned,
        "credits_charged": ledger_text(outcome.charged),
        "balance_after": ledger_text(outcome.balance_after),
        "low_balance": is_low(outcome.balance_after),
    }


class Chunks:
    """The events of one stream."""

    def __init__(self, *, id_: UUID, created_at: datetime, model_alias: str, includes_usage: bool) -> None:
        self._head = _head(id_, created_at, model_alias, kind="chat.completion.chunk")
        self._includes_usage = includes_usage

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def ending(self, outcome: Outcome) -> bytes:
        """After the commit: the reason of the end, the usage where it was asked for, and what it cost."""
        if outcome.answer.failure is not None:
            code, detail = outcome.answer.failure
            return event({"error": error_of(status=_SERVER_ERROR, code=code, message=detail)})
        last = self._calls(outcome) + self._chunk(
            {}, finish_reason=outcome.answer.finish_reason, tallyroom=money(outcome)
        )
        if self._includes_usage:
            last += event({**self._head, "choices": [], "usage": usage(outcome), "tallyroom": money(outcome)})
        return last + DONE

    def _calls(self, outcome: Outcome) -> bytes:
        """Whole, in one chunk: half a call is of use to nobody."""
        calls = [{"index": index, **call} for index, call in enumerate(outcome.answer.tool_calls)]
        return self._chunk({"tool_calls": calls}) if calls else b""

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        counted = {"usage": None} if self._includes_usage else {}
        return event({**self._head, "choices": [choice], **counted, **more})


def event(data: dict[str, Any]) -> bytes:
    # In ASCII, so that no reader takes U+2028 for the end of a line.
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode("ascii")


def error_of(*, status: int, code: str, message: str) -> dict[str, Any]:
    """OpenAI's own form of an error."""
    kind = "server_error" if status >= _SERVER_ERROR else "invalid_request_error"
    kind = {_PAYMENT_REQUIRED: "insufficient_quota", _TOO_MANY_REQUESTS: "rate_limit_exceeded"}.get(status, kind)
    return {"message": message, "type": kind, "param": None, "code": code}


def models(book: PriceBook, aliases: list[str]) -> dict[str, Any]:
    return {"object": "list", "data": [model(book, alias) for alias in aliases]}


def model(book: PriceBook, alias: str) -> dict[str, Any]:
    return {"id": alias, "object": "model", "created": 0, "owned_by": book.models[alias].provider}


def _head(id_: UUID, created_at: datetime, model_alias: str, *, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{id_}", "object": kind, "created": int(created_at.timestamp()), "model": model_alias}

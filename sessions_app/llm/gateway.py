"""The door to every model provider: one call in, one result out, metered whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar

from sessions_app.llm.answer import Answer
from sessions_app.llm.clients import aclose_clients, client
from sessions_app.llm.deadline import DeadlinePassedError, run_within
from sessions_app.llm.exchange import exchange
from sessions_app.llm.faults import Fault, broken_fault, total_fault, unconfigured_fault
from sessions_app.llm.metering import meter
from sessions_app.llm.providers import GatewaySettings, Provider, gateway_settings
from sessions_app.llm.retrying import Retries
from sessions_app.llm.types import CallStatus, ChatRequest, ChatResult
from sessions_app.llm.usage import evidence

__all__ = ["aclose_clients", "complete"]

T = TypeVar("T", int, float)


async def complete(
    request: ChatRequest,
    *,
    on_delta: Callable[[str], None],
    report: Callable[[ChatResult], None],
    config: GatewaySettings | None = None,
) -> ChatResult:
    """Ask the provider and stream its answer to `on_delta`.

    Never raises for what a provider does: the result says it. `report` gets the result exactly once, also when the
    caller is cancelled (the socket is closed first, the CancelledError goes on) and when a callback raises, so that
    no call can end unmetered. Both callbacks run on the event loop and must not block.
    """
    call = _Call(request, config or gateway_settings(), on_delta)
    result: ChatResult | None = None
    try:
        result = await call.run()
    except asyncio.CancelledError:
        result = call.cancelled()
        raise
    finally:
        report(result or call.ended(broken_fault()))
    return result


class _Call:
    def __init__(self, request: ChatRequest, settings: GatewaySettings, on_delta: Callable[[str], None]) -> None:
        self._request = request
        self._settings = settings
        self._provider = settings.providers.get(request.provider)
        self._key = self._provider.api_key if self._provider else ""
        self._answer = Answer(
            max_output_tokens=request.max_output_tokens,
            key=self._key,
            on_delta=on_delta,
            usage_chunks=self._provider.usage_chunks if self._provider else "cumulative",
        )
        self._total_timeout_s = _tightened(settings.total_timeout_s, request.total_timeout_s)
        self._attempts = 0
        self._started_at = perf_counter()

    async def run(self) -> ChatResult:
        if self._provider is None:
            return self.ended(unconfigured_fault(self._request.provider))
        fault: Fault | None = None
        try:
            await run_within(self._total_timeout_s, self._ask_until_answered(self._provider))
        except DeadlinePassedError:
            fault = None if self._answer.has_ended else total_fault()
        except Fault as raised:
            fault = raised
        self._answer.flush()
        return self.ended(fault)

    def cancelled(self) -> ChatResult:
        self._answer.flush()
        return self._result("cancelled", None)

    def ended(self, fault: Fault | None) -> ChatResult:
        if fault is None:
            return self._result("success", None)
        return self._result("partial" if self._answer.has_output else fault.status, fault)

    async def _ask_until_answered(self, provider: Provider) -> None:
        max_retries = _tightened(self._settings.max_retries, self._request.retries)
        retries = Retries(max_retries=max_retries, backoff_base_s=self._settings.backoff_base_s)
        while True:
            self._attempts += 1
            try:
                return await exchange(client(), provider, self._request, self._settings, self._answer)
            except Fault as fault:
                left_s = self._total_timeout_s - (perf_counter() - self._started_at)
                pause_s = retries.pause_s(fault, left_s=left_s)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    def _result(self, status: CallStatus, fault: Fault | None) -> ChatResult:
        answer = self._answer
        text = answer.text
        usage = self._evidence()
        metered = meter(
            status=status,
            request=self._request,
            text=answer.written,
            usage=usage,
            uncounted=answer.uncounted_text,
            flags=answer.usage.flags,
        )
        return ChatResult(
            status=status,
            text=text,
            pools=metered.pools,
            usage_source=metered.source,
            raw_usage=usage,
            provider_model=answer.model or self._request.model,
            finish_reason=answer.finish_reason,
            failure=fault.failure if fault else None,
            usage_flags=metered.flags,
            latency_ms=_since_ms(self._started_at, perf_counter()),
            first_text_ms=None if answer.first_text_at is None else _since_ms(self._started_at, answer.first_text_at),
            attempts=self._attempts,
            tool_calls=answer.tool_calls.calls(),
        )

    def _evidence(self) -> dict[str, Any] | None:
        merged = self._answer.usage.merged
        if merged is None:
            return None
        shape = self._provider.usage_shape if self._provider else "auto"
        return evidence(merged, self._key, shape=shape, output_limit=self._request.max_output_tokens)


def _tightened(setting: T, wanted: T | None) -> T:
    """What a request asks for within what the operator allows, and never below zero."""
    return setting if wanted is None else max(type(setting)(0), min(setting, wanted))


def _since_ms(start: float, end: float) -> int:
    return round((end - start) * 1000)

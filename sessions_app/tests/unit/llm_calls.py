"""How the gateway's tests call it: one synchronous function, everything it did as data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sessions_app.llm import gateway
from sessions_app.llm.providers import GatewaySettings, Provider
from sessions_app.llm.types import ChatRequest, ChatResult, Message
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider

CANARY_KEY = "sk-canary-0123456789abcdef"
# 10 bytes and 9 bytes in 2 messages: estimated ceil(19 / 4) + 2 * 4 = 13 tokens.
MESSAGES = (Message("system", "Be helpful"), Message("user", "Say hello"))
ESTIMATED_INPUT = 13
T = TypeVar("T")


@dataclass
class Outcome:
    deltas: list[str] = field(default_factory=list)
    reports: list[ChatResult] = field(default_factory=list)

    @property
    def result(self) -> ChatResult:
        """The one report; the number of reports is checked with every use."""
        assert len(self.reports) == 1
        assert "".join(self.deltas) == self.reports[0].text
        return self.reports[0]


def make_settings(base_url: str, *, key: str = CANARY_KEY, **changes: Any) -> GatewaySettings:
    values = {
        "connect_timeout_s": 2.0,
        "read_timeout_s": 5.0,
        "total_timeout_s": 10.0,
        "max_retries": 2,
        "backoff_base_s": 0.01,
        **changes,
    }
    return GatewaySettings(providers={"default": Provider("default", base_url, key)}, **values)


def make_request(**changes: Any) -> ChatRequest:
    values: dict[str, Any] = {
        "provider": "default",
        "model": "scripted-1",
        "messages": MESSAGES,
        "max_output_tokens": 100,
        "request_id": "req-1",
        **changes,
    }
    return ChatRequest(**values)


def in_loop(main: Callable[[], Awaitable[T]]) -> T:
    """Run in a loop of its own and close its client, as a process does when it ends."""

    async def run() -> T:
        try:
            return await main()
        finally:
            await gateway.aclose_clients()

    return asyncio.run(run())


async def call(settings: GatewaySettings, outcome: Outcome, request: ChatRequest | None = None) -> ChatResult:
    result = await gateway.complete(
        request or make_request(), on_delta=outcome.deltas.append, report=outcome.reports.append, config=settings
    )
    assert outcome.reports == [result]
    return result


def ask_at(base_url: str, *, request: ChatRequest | None = None, **changes: Any) -> ChatResult:
    outcome = Outcome()
    in_loop(lambda: call(make_settings(base_url, **changes), outcome, request))
    return outcome.result


def in_turn(*replies: Reply) -> Callable[[Any], Reply]:
    """A script that gives these replies one after the other, and then the last one again."""
    left = list(replies)
    return lambda _body: left.pop(0) if len(left) > 1 else left[0]


def ask(reply: Reply, *, request: ChatRequest | None = None, **changes: Any) -> ChatResult:
    """One call to a provider that always answers so."""
    with ScriptedProvider(lambda _body: reply) as provider:
        return ask_at(provider.base_url, request=request, **changes)

"""What goes into a provider call and what comes out of it: plain data, the same for every provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pricing.rating import TokenPools

Role = Literal["system", "user", "assistant", "tool"]
CallStatus = Literal["success", "partial", "error", "timeout", "rate_limited", "cancelled"]
FailureCode = Literal["provider_error", "provider_unavailable", "provider_timeout"]
UsageSource = Literal["provider", "partial", "estimated", "none"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model wants called. `arguments` is what it wrote, JSON or not; nothing of it is trusted."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    # Whether the provider holds the model to the schema; None leaves that to the provider.
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ForcedTool:
    """The one tool that the model has to call."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | ForcedTool


@dataclass(frozen=True, slots=True)
class Message:
    """`tool_calls`: what an assistant's message asked for. `tool_call_id`: what a tool's message is the result of."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class ResponseSchema:
    """What the answer has to be: JSON that fits this JSON Schema, which the provider enforces as it generates."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`retries` and `total_timeout_s` tighten the gateway's settings for this call; they never widen them.

    `tools`: what the model may ask for; with `tool_choice` "none" it is told of them and may not,
    with "required" or a `ForcedTool` it has to. `options`: further
    members of the request's body, passed on as they are.
    """

    provider: str
    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int
    request_id: str
    temperature: float = 0.2
    response_schema: ResponseSchema | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    retries: int | None = None
    total_timeout_s: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderFailure:
    """Why a call did not end well, fit to be shown: `detail` is one sentence without keys or raw provider bodies."""

    code: FailureCode
    detail: str
    retry_after_s: float | None
    http_status: int | None


@dataclass(frozen=True, slots=True)
class ChatResult:
    """What one call did. `text` is exactly what `on_delta` was given; `pools` is exactly what is to be billed.

    `tool_calls`: what the model asked for, in its order; complete only where `status` is `success`.
    """

    status: CallStatus
    text: str
    pools: TokenPools
    usage_source: UsageSource
    raw_usage: dict[str, Any] | None
    provider_model: str
    finish_reason: str | None
    failure: ProviderFailure | None
    usage_flags: tuple[str, ...]
    latency_ms: int
    first_text_ms: int | None
    attempts: int
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def failed(self) -> bool:
        return self.failure is not None

    @property
    def http_status(self) -> int | None:
        """The status by which the provider refused, where it did."""
        return self.failure.http_status if self.failure else None

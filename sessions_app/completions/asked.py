"""What a client of OpenAI's API may ask of us, and what we make of it.

What would change the answer and cannot be honoured is refused by name; what only describes the caller is ignored.
Reference: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.core.fields import ClosedSerializer, TextField
from config.core.idempotency import Claim
from sessions_app.completions import functions
from sessions_app.llm.text import clean
from sessions_app.llm.tool_wire import ID_MAX_CHARS
from sessions_app.llm.types import Message, ResponseSchema, Role, ToolChoice, ToolSpec

MESSAGES_MAX = 1_000
# Passed on to the provider as they are.
_OPTIONS = ("top_p", "stop", "seed", "presence_penalty", "frequency_penalty", "parallel_tool_calls")
_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """`max_output_tokens` is None where the client leaves it to us. `tools` are the client's own, which it runs."""

    user_id: UUID
    model_alias: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None
    temperature: float
    options: dict[str, Any] = field(default_factory=dict)
    schema: ResponseSchema | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    streams: bool = False
    includes_usage: bool = False
    claim: Claim | None = None
    api_key_id: UUID | None = None


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})
class _Content(serializers.Field[str, Any, str, Any]):
    """A text, or a list of text parts."""

    default_error_messages = {"parts": "A text, or a list of parts of type `text`; pictures and sound are not read."}

    def to_internal_value(self, data: Any) -> str:
        parts = [{"type": "text", "text": data}] if isinstance(data, str) else data
        if not isinstance(parts, list) or not parts:
            self.fail("parts")
        for part in parts:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                self.fail("parts")
        return "".join(part["text"] for part in parts)


@extend_schema_field({"type": ["null", "array"], "maxItems": 0})
class _Nothing(serializers.Field[None, Any, None, Any]):
    """Null, or an empty list."""

    default_error_messages = {"nothing": "Not supported."}

    def to_internal_value(self, data: Any) -> None:
        if data != []:
            self.fail("nothing")


class _Message(ClosedSerializer):
    role = serializers.ChoiceField(choices=[*_ROLES])
    content = _Content(required=False, allow_null=True)
    # Who speaks, for models that know of it; ours are not told.
    name = TextField(max_length=64, required=False)
    # What an assistant called, and which of these calls a tool's message is the result of.
    tool_calls = serializers.ListField(
        child=functions.ToolCallIn(), required=False, allow_null=True, max_length=functions.TOOLS_MAX
    )
    tool_call_id = TextField(max_length=ID_MAX_CHARS, required=False)
    # OpenAI's clients send an answer back with all that it had; only what is none is understood.
    refusal = _Nothing(required=False, allow_null=True)
    annotations = _Nothing(required=False, allow_null=True)
    audio = _Nothing(required=False, allow_null=True)
    function_call = _Nothing(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        calls = attrs.get("tool_calls")
        if calls and attrs["role"] != "assistant":
            raise serializers.ValidationError({"tool_calls": "Only an assistant calls tools."}, code="invalid")
        if (attrs["role"] == "tool") != ("tool_call_id" in attrs):
            raise serializers.ValidationError(
                {"tool_call_id": "Needed for role `tool`, and only there."}, code="invalid"
            )
        if attrs.get("content") is None and not calls:
            raise serializers.ValidationError({"content": "A message needs one."}, code="required")
        return attrs


class _StreamOptions(serializers.Serializer[Any]):
    include_usage = serializers.BooleanField(required=False, default=False)


class _JsonSchema(serializers.Serializer[Any]):
    name = TextField(max_length=64)
    schema = serializers.DictField()

    def validate_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        functions.ensure_shallow(schema)
        return schema


class _ResponseFormat(ClosedSerializer):
    type = serializers.ChoiceField(choices=["text", "json_object", "json_schema"])
    json_schema = _JsonSchema(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["type"] == "json_schema" and "json_schema" not in attrs:
            raise serializers.ValidationError({"json_schema": "Needed for this type."})
        return attrs


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
class _Stop(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {"stop": "A text, or a list of one to four texts."}

    def to_internal_value(self, data: Any) -> Any:
        texts = [data] if isinstance(data, str) else data
        if not isinstance(texts, list) or not 1 <= len(texts) <= 4 or not all(isinstance(one, str) for one in texts):
            self.fail("stop")
        return [clean(one) for one in texts] if isinstance(data, list) else clean(data)


class CompletionIn(ClosedSerializer):
    """A chat completion as OpenAI describes it; `model` is one of `GET /v1/models`."""

    model = TextField(max_length=64)
    messages = serializers.ListField(child=_Message(), min_length=1, max_length=MESSAGES_MAX)
    max_completion_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    max_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False, allow_null=True)
    top_p = serializers.FloatField(min_value=0, max_value=1, required=False, allow_null=True)
    presence_penalty = serializers.FloatField(min_value=-2, max_value=2, required=False, allow_null=True)
    frequency_penalty = serializers.FloatField(min_value=-2, max_value=2, required=False, allow_null=True)
    seed = serializers.IntegerField(min_value=-(2**63), max_value=2**63 - 1, required=False, allow_null=True)
    stop = _Stop(required=False, allow_null=True)
    n = serializers.IntegerField(min_value=1, max_value=1, required=False, allow_null=True)
    response_format = _ResponseFormat(required=False, allow_null=True)
    tools = serializers.ListField(
        child=functions.ToolIn(), required=False, allow_null=True, max_length=functions.TOOLS_MAX
    )
    tool_choice = functions.ToolChoiceIn(required=False, allow_null=True)
    parallel_tool_calls = serializers.BooleanField(required=False, allow_null=True)
    stream = serializers.BooleanField(required=False, allow_null=True)
    stream_options = _StreamOptions(required=False, allow_null=True)
    # These describe the caller.
    user = TextField(max_length=256, required=False, allow_null=True)
    metadata = serializers.DictField(required=False, allow_null=True)
    store = serializers.BooleanField(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        asked = attrs.get("max_completion_tokens") or attrs.get("max_tokens")
        if asked is not None and asked > settings.LLM_MAX_OUTPUT_TOKENS:
            name = "max_completion_tokens" if attrs.get("max_completion_tokens") else "max_tokens"
            most = settings.LLM_MAX_OUTPUT_TOKENS
            raise serializers.ValidationError({name: f"At most {most} (LLM_MAX_OUTPUT_TOKENS)."}, code="max_value")
        return attrs


def read(data: Any, *, user_id: UUID, claim: Claim | None, api_key_id: UUID | None = None) -> CompletionRequest:
    """Raises: DRF's ValidationError."""
    body = CompletionIn(data=data)
    body.is_valid(raise_exception=True)
    asked = {name: value for name, value in body.validated_data.items() if value is not None}
    options = {name: asked[name] for name in _OPTIONS if name in asked}
    format_ = asked.get("response_format", {"type": "text"})
    schema = format_.get("json_schema")
    tools, choice = functions.specs_of(asked.get("tools", ())), asked.get("tool_choice")
    functions.ensure_coherent(tools, choice)
    if not tools:
        # Providers refuse it where there is nothing to call.
        options.pop("parallel_tool_calls", None)
    if format_["type"] == "json_object":
        options["response_format"] = {"type": "json_object"}
    return CompletionRequest(
        user_id=user_id,
        model_alias=asked["model"],
        messages=tuple(_message(one) for one in asked["messages"]),
        max_output_tokens=asked.get("max_completion_tokens") or asked.get("max_tokens"),
        temperature=asked.get("temperature", 1.0),
        options=options,
        schema=ResponseSchema(schema["name"], schema["schema"]) if format_["type"] == "json_schema" else None,
        tools=tools,
        tool_choice=choice or "auto",
        streams=asked.get("stream", False),
        includes_usage=asked.get("stream_options", {}).get("include_usage", False),
        claim=claim,
        api_key_id=api_key_id,
    )


def _message(one: dict[str, Any]) -> Message:
    return Message(
        _ROLES[one["role"]],
        one.get("content") or "",
        functions.calls_of(one.get("tool_calls") or ()),
        one.get("tool_call_id", ""),
    )

"""Functions that a client offers to the model: they are passed on, and the client runs them itself.

Reference: https://platform.openai.com/docs/api-reference/chat/create (tools, tool_choice, messages of role `tool`)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.core.fields import ClosedSerializer, TextField
from sessions_app.llm.tool_wire import ID_MAX_CHARS, NAME_MAX_CHARS
from sessions_app.llm.types import ForcedTool, ToolCall, ToolChoice, ToolSpec

TOOLS_MAX = 128
TYPES = [("function", "function")]
ARGUMENTS_MAX_CHARS = 200_000
# Far deeper than providers take, and far from where writing it as JSON would break off the call that is held for.
DEPTH_MAX = 200
_NAME = re.compile(rf"\A[A-Za-z0-9_-]{{1,{NAME_MAX_CHARS}}}\Z")


def ensure_shallow(schema: Mapping[str, Any]) -> None:
    """Raises: DRF's ValidationError."""
    level, depth = list[Any]([schema]), 0
    while level:
        depth += 1
        nested = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        level = [*chain.from_iterable(nested)]
    if depth > DEPTH_MAX:
        raise serializers.ValidationError("Nested too deeply.", code="too_deep")


class _Name(TextField):
    def run_validation(self, data: Any = serializers.empty) -> Any:
        name = super().run_validation(data)
        if not _NAME.match(name):
            raise serializers.ValidationError("Letters, digits, _ and -, at most 64 of them.", code="invalid")
        return name


class _Function(ClosedSerializer):
    name = _Name()
    description = TextField(max_length=4_096, required=False, allow_blank=True)
    parameters = serializers.DictField(required=False)
    strict = serializers.BooleanField(required=False, allow_null=True)

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        ensure_shallow(parameters)
        return parameters


class ToolIn(ClosedSerializer):
    type = serializers.ChoiceField(choices=TYPES)
    function = _Function()


class _Called(ClosedSerializer):
    name = _Name()
    arguments = serializers.CharField(max_length=ARGUMENTS_MAX_CHARS, allow_blank=True, trim_whitespace=False)


class ToolCallIn(ClosedSerializer):
    """A call that the model made before, as it is sent back with its result."""

    id = TextField(max_length=ID_MAX_CHARS)
    type = serializers.ChoiceField(choices=TYPES)
    function = _Called()


@extend_schema_field({"oneOf": [{"type": "string", "enum": ["auto", "none", "required"]}, {"type": "object"}]})
class ToolChoiceIn(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {"choice": "auto, none, required, or a function by its name."}

    def to_internal_value(self, data: Any) -> ToolChoice:
        if data in ("auto", "none", "required"):
            return data  # type: ignore[no-any-return]
        function = data.get("function") if isinstance(data, dict) and data.get("type") == "function" else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not _NAME.match(name):
            self.fail("choice")
        return ForcedTool(name)


def specs_of(tools: Sequence[Mapping[str, Any]]) -> tuple[ToolSpec, ...]:
    return tuple(
        ToolSpec(
            function["name"],
            function.get("description", ""),
            function.get("parameters", {"type": "object", "properties": {}}),
            function.get("strict"),
        )
        for function in (tool["function"] for tool in tools)
    )


def calls_of(calls: Sequence[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls)


def ensure_coherent(tools: Sequence[ToolSpec], choice: ToolChoice | None) -> None:
    """A choice among tools needs them. Raises: DRF's ValidationError."""
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise serializers.ValidationError({"tools": "Two functions have the same name."}, code="duplicate")
    if isinstance(choice, ForcedTool) and choice.name not in names:
        raise serializers.ValidationError({"tool_choice": "No tool has that name."}, code="does_not_exist")
    if choice == "required" and not names:
        raise serializers.ValidationError({"tool_choice": "There are no tools to choose from."}, code="invalid")

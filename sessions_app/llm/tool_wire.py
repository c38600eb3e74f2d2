"""Tools in the chat completions protocol: how a model is told of them, how its calls are gathered from a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessions_app.llm.redaction import without_key
from sessions_app.llm.text import clean, label
from sessions_app.llm.types import ForcedTool, Message, ToolCall, ToolChoice, ToolSpec

NAME_MAX_CHARS = 64
ID_MAX_CHARS = 128


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A part of a call as one frame brings it. `index` is None where the provider does not number its calls."""

    index: int | None
    id: str = ""
    name: str = ""
    arguments: str = ""


class GatheredCalls:
    """Pieces become calls: by index, and where a provider gives all of them the same one, by id."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._places: dict[int, int] = {}
        self._calls: list[list[str]] = []

    def take(self, piece: CallPiece) -> int:
        """Returns how many characters it added."""
        call = self._calls[self._place_of(piece)]
        call[0] = call[0] or piece.id
        call[1] = call[1] or piece.name
        call[2] += piece.arguments
        return len(piece.id) + len(piece.name) + len(piece.arguments)

    def _place_of(self, piece: CallPiece) -> int:
        last = len(self._calls) - 1
        if piece.index is None:
            is_same = last >= 0 and (not piece.name or (piece.id != "" and piece.id == self._calls[last][0]))
            place = last if is_same else None
        else:
            place = self._places.get(piece.index)
            if place is not None and piece.id and self._calls[place][0] not in {"", piece.id}:
                place = None
        if place is None:
            self._calls.append(["", "", ""])
            place = last + 1
            if piece.index is not None:
                self._places[piece.index] = place
        return place

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def text(self) -> str:
        """What the model wrote, for an estimate of its tokens."""
        return "".join(name + arguments for _, name, arguments in self._calls)

    def calls(self) -> tuple[ToolCall, ...]:
        """Each with an id of its own: results are matched by it, and not every provider gives one."""
        found, seen = [], set[str]()
        for place, (id_, name, arguments) in enumerate(self._calls):
            shown = label(id_, ID_MAX_CHARS, self._key)
            shown = shown if shown and shown not in seen else f"call_{place}"
            seen.add(shown)
            found.append(
                ToolCall(shown, label(name, NAME_MAX_CHARS, self._key), without_key(clean(arguments), self._key))
            )
        return tuple(found)


def pieces_of(said: Mapping[str, Any]) -> tuple[CallPiece, ...]:
    """The calls in a `delta` or a `message`. What has another shape than expected counts as absent."""
    calls = said.get("tool_calls")
    if not isinstance(calls, list):
        return ()
    is_whole = "role" in said and "content" in said and len(calls) > 1
    return tuple(
        _piece(call, place if is_whole and "index" not in call else None)
        for place, call in enumerate(calls)
        if isinstance(call, dict)
    )


def _piece(call: Mapping[str, Any], place: int | None) -> CallPiece:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    index, arguments = call.get("index", place), function.get("arguments")
    if isinstance(arguments, dict):
        # Some servers parse what the model wrote.
        arguments = json.dumps(arguments, ensure_ascii=False)
    return CallPiece(
        index=index if isinstance(index, int) and not isinstance(index, bool) else None,
        id=_text(call.get("id")),
        name=_text(function.get("name")),
        arguments=_text(arguments),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def message_body(message: Message) -> dict[str, Any]:
    """A message as it is sent."""
    body: dict[str, Any] = {"role": message.role, "content": clean(message.content)}
    if message.tool_calls:
        # Some providers refuse an empty text beside calls.
        body["content"] = body["content"] or None
        body["tool_calls"] = calls_body(message.tool_calls)
    if message.role == "tool":
        body["tool_call_id"] = message.tool_call_id
    return body


def calls_body(calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": clean(call.arguments)}}
        for call in calls
    ]


def tools_body(tools: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": _function(tool)} for tool in tools]


def _function(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return function if tool.strict is None else {**function, "strict": tool.strict}


def choice_body(choice: ToolChoice) -> Any:
    if isinstance(choice, ForcedTool):
        return {"type": "function", "function": {"name": choice.name}}
    return choice


def calls_json(calls: Sequence[ToolCall]) -> str:
    """As they are sent, so that what is measured is what is paid for."""
    if not calls:
        return ""
    return json.dumps(calls_body(calls), ensure_ascii=False)


def tools_json(tools: Sequence[ToolSpec]) -> str:
    return json.dumps(tools_body(tools), ensure_ascii=False) if tools else ""

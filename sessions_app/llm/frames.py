"""One JSON object of a provider, a stream's chunk or a whole body, as the few facts that we use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sessions_app.llm.tool_wire import CallPiece, pieces_of

_USAGE_PLACES = frozenset({"usage", "message", "usageMetadata", "x_groq"})
_TEXT_PART_TYPES = (None, "text", "output_text")


class MalformedFrameError(Exception):
    """What arrived is not a JSON object."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`error` is None where there was none, and otherwise what the provider said, possibly nothing."""

    text: str = ""
    tool_calls: tuple[CallPiece, ...] = ()
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    error: str | None = None


def parse_object(payload: str) -> dict[str, Any]:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        # ValueError: not JSON, or an integer of thousands of digits. RecursionError: brackets without end.
        raise MalformedFrameError from None
    if not isinstance(value, dict):
        raise MalformedFrameError
    return value


def read_frame(body: dict[str, Any]) -> Frame:
    """Nothing here trusts the shape: a field of another type than expected counts as absent."""
    choice = _first_choice(body)
    model = body.get("model")
    reason = choice.get("finish_reason")
    error = error_of(body)
    if error is None and reason == "error":
        error = ""
    return Frame(
        # The text that comes with an error is the error's, never the answer's.
        text=_text(choice) if error is None else "",
        tool_calls=pieces_of(_said(choice)) if error is None else (),
        finish_reason=reason if isinstance(reason, str) and reason else None,
        usage=_usage(body, choice),
        model=model if isinstance(model, str) and model else None,
        error=error,
    )


def error_of(body: dict[str, Any]) -> str | None:
    """The message of `{"error": ...}`, or of the older `{"object": "error", "message": ...}`."""
    error = body.get("error")
    if error:
        return message_of(error)
    return message_of(body) if body.get("object") == "error" else None


def message_of(error: Any) -> str:
    """The human part of an error, whatever its shape."""
    if isinstance(error, str):
        return error
    if isinstance(error, dict):
        for name in ("message", "error", "detail"):
            if isinstance(error.get(name), str):
                return str(error[name])
            if isinstance(error.get(name), dict):
                return message_of(error[name])
    return ""


def _first_choice(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _usage(body: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any] | None:
    """Usage from all the places where servers put it. Where two of them count, the provider's own word comes last.

    An empty object counts nothing; an object of zeros does.
    """
    if _USAGE_PLACES.isdisjoint(body) and "usage" not in choice:
        # Nearly every chunk of a stream.
        return None
    found: dict[str, Any] = {}
    for usage in (
        body.get("usage"),
        choice.get("usage"),  # Moonshot
        _member(body, "message").get("usage"),  # Anthropic's message_start
        body.get("usageMetadata"),  # Gemini
        _member(body, "x_groq").get("usage"),  # Groq
    ):
        if isinstance(usage, dict):
            found.update({name: value for name, value in usage.items() if value is not None or name not in found})
    return found or None


def _member(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _said(choice: dict[str, Any]) -> dict[str, Any]:
    said = choice.get("delta") or choice.get("message")
    return said if isinstance(said, dict) else {}


def _text(choice: dict[str, Any]) -> str:
    """`delta` in a stream, `message` in a whole body. `reasoning_content` is not looked at: it is no answer."""
    content = _said(choice).get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part_text(part) for part in content)
    return ""


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type") in _TEXT_PART_TYPES and isinstance(part.get("text"), str):
        return str(part["text"])
    return ""

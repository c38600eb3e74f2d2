"""The JSON object that a model meant, where what it wrote is not quite one.

Models wrap their object in a code fence or in sentences, and one that reaches its token limit stops in the middle.
Nothing is guessed beyond that: a text without an object gives None.
"""

from __future__ import annotations

import json
from typing import Any

TEXT_MAX_CHARS = 20_000
# How far back the end of a torn object is looked for before it is given up.
_STEPS_MAX = 64
_CLOSING = {"{": "}", "[": "]"}


def exact_object(text: str) -> dict[str, Any] | None:
    """The object that the whole text is."""
    return _object(text[:TEXT_MAX_CHARS])


def lenient_object(text: str) -> dict[str, Any] | None:
    """The first object in the text; one that is torn off at the end is closed after its last whole piece."""
    start = text.find("{")
    if start < 0:
        return None
    text = text[start : start + TEXT_MAX_CHARS]
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return _mended(text)
    return value if isinstance(value, dict) else None


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _mended(text: str) -> dict[str, Any] | None:
    """Cut back to a place where closing what is open makes an object: first within a string, then at commas."""
    for _ in range(_STEPS_MAX):
        closing = _closing_of(text)
        if closing is None:
            return None
        found = _object(text + closing)
        if found is not None:
            return found
        comma = text.rfind(",")
        if comma < 0:
            return None
        text = text[:comma]
    return None


def _closing_of(text: str) -> str | None:
    """What closes the strings, lists and objects that are open at the end; None where brackets do not match."""
    stack: list[str] = []
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in _CLOSING:
            stack.append(_CLOSING[char])
        elif char in "}]" and (not stack or stack.pop() != char):
            return None
    return ('"' if in_string else "") + "".join(reversed(stack))

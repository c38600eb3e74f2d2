"""From a provider's usage object to exclusive token pools.

Shape "openai": `prompt_tokens` includes the cached ones and `completion_tokens` includes reasoning. Read naively,
cached tokens are billed twice and reasoning on top of output; both happened to peers. A count that says nothing (NaN,
true, 10**12) leaves a flag and counts as not reported, so that it is estimated: it neither mints a charge nor makes the
call free. A negative count is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pricing.rating import TokenPools
from sessions_app.llm.redaction import without_key
from sessions_app.llm.text import clean

COUNT_MAX = 2**31 - 1
_COUNT_DIGITS_MAX = 20
_STORED_STRING_MAX_CHARS = 200
_STORED_ITEMS_MAX = 64
_STORED_DEPTH_MAX = 4


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """What the provider counted. None: it did not say, which is not the same as zero."""

    input: int | None
    cached: int
    output: int | None
    reasoning: int
    flags: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return self.input is not None and self.output is not None

    def pools(self, *, input_estimate: int, output_estimate: int) -> TokenPools:
        """Exclusive pools; a side that was not reported is estimated."""
        output = output_estimate if self.output is None else self.output
        if self.input is None:
            return TokenPools(input_fresh=input_estimate, output=output, reasoning=self.reasoning)
        return TokenPools(
            input_fresh=self.input - self.cached, input_cached=self.cached, output=output, reasoning=self.reasoning
        )


def read_usage(raw: Mapping[str, Any]) -> ReportedUsage:
    flags: list[str] = []
    prompt = _count(raw.get("prompt_tokens"), flags)
    completion = _count(raw.get("completion_tokens"), flags)
    cached = _count(_detail(raw, "prompt_tokens_details", "cached_tokens", flags), flags) or 0
    reasoning = _count(_detail(raw, "completion_tokens_details", "reasoning_tokens", flags), flags) or 0
    if cached > (prompt or 0):
        cached = prompt or 0
        flags.append("cached_exceeds_input")
    if reasoning > (completion or 0):
        reasoning = completion or 0
        flags.append("reasoning_exceeds_output")
    return ReportedUsage(prompt, cached, completion, reasoning, tuple(dict.fromkeys(flags)))


def _detail(raw: Mapping[str, Any], group: str, name: str, flags: list[str]) -> Any:
    details = raw.get(group)
    if isinstance(details, Mapping):
        return details.get(name)
    if details is not None:
        flags.append("malformed_count")
    return None


def _count(value: Any, flags: list[str]) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        # Servers written in JavaScript or Lua may say 12.0; the number is right, its form is noted.
        flags.append("float_count")
        value = int(value)
    elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _COUNT_DIGITS_MAX:
        flags.append("text_count")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        flags.append("malformed_count")
        return None
    if value < 0:
        flags.append("negative_count")
        return 0
    if value > COUNT_MAX:
        flags.append("absurd_count")
        return None
    return value


def storable(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The usage object as evidence that jsonb can hold: bounded, no NUL, no NaN, no key of ours."""
    return {_stored_string(name, key): _stored(value, key, 1) for name, value in list(raw.items())[:_STORED_ITEMS_MAX]}


def _stored(value: Any, key: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # False for NaN too, which jsonb cannot hold.
        return value if abs(value) < 2**63 else _stored_string(str(value), key)
    if isinstance(value, str):
        return _stored_string(value, key)
    if depth >= _STORED_DEPTH_MAX:
        return "[too deep]"
    if isinstance(value, dict):
        items = list(value.items())[:_STORED_ITEMS_MAX]
        return {_stored_string(name, key): _stored(item, key, depth + 1) for name, item in items}
    return [_stored(item, key, depth + 1) for item in value[:_STORED_ITEMS_MAX]]


def _stored_string(text: str, key: str) -> str:
    return without_key(clean(text), key)[:_STORED_STRING_MAX_CHARS]

"""A number that a provider gave: a count of tokens, or nothing.

A count that says nothing (NaN, true, 10**12) leaves a flag and is as good as not reported, so that it is estimated: it
neither mints a charge nor makes the call free. A negative count is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

COUNT_MAX = 2**31 - 1
_COUNT_DIGITS_MAX = 20


def read_count(value: Any, flags: list[str]) -> int | None:
    """None: nothing was said, which is not the same as zero."""
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


class Counts:
    """Looks counts up in a usage object by their paths (`prompt_tokens_details.cached_tokens`), and keeps the flags."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.flags: list[str] = []
        self._raw = raw

    def one(self, *paths: str) -> int | None:
        """Several names of one count: the first that is above zero; 0 where they say nothing but zero; or None.

        Gateways that speak two dialects fill the names of the one that they did not ask with zeros.
        """
        known = [count for path in paths if (count := read_count(self._look_up(path), self.flags)) is not None]
        above_zero = [count for count in known if count]
        if len(set(above_zero)) > 1:
            self.flags.append("counts_differ")
        return above_zero[0] if above_zero else known[0] if known else None

    def all(self, *paths: str) -> int | None:
        """Several parts of one count: their sum, or None where none of them is there."""
        known = [count for path in paths if (count := read_count(self._look_up(path), self.flags)) is not None]
        return sum(known) if known else None

    def said(self, *paths: str) -> bool:
        """Whether there is anything under one of these names, a count or not."""
        return any(self._look_up(path) is not None for path in paths)

    def _look_up(self, path: str) -> Any:
        group, _, name = path.rpartition(".")
        if not group:
            return self._raw.get(name)
        details = self._raw.get(group)
        if isinstance(details, Mapping):
            return details.get(name)
        if details is not None:
            self.flags.append("malformed_count")
        return None

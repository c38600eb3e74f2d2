"""The usage objects of one answer, which may come with each chunk, made into one.

`cumulative`, which nearly all providers are: a later count replaces an earlier one, and what a later object leaves out
stays. So a total that is repeated a hundred times counts once, and Anthropic's input, named only at the start, is kept.
`incremental`: each chunk counts what it brought, and the counts are summed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sessions_app.llm.counts import read_count
from sessions_app.llm.usage import STORED_DEPTH_MAX, STORED_ITEMS_MAX, kept_items
from sessions_app.llm.usage_shapes import COUNT_NAMES, USAGE_NAMES

UsageChunks = Literal["cumulative", "incremental"]


class GatheredUsage:
    """`merged` is None until a chunk has brought usage. `flags` are those that the sum no longer shows."""

    def __init__(self, chunks: UsageChunks = "cumulative") -> None:
        self.merged: dict[str, Any] | None = None
        self._is_summed = chunks == "incremental"
        self._flags: list[str] = []

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(self._flags)

    def take(self, usage: Mapping[str, Any]) -> None:
        if self.merged is None:
            self.merged = {}
        self._merge(self.merged, usage, 1)
        # Each once: a long stream may repeat its mistake with every chunk.
        self._flags = list(dict.fromkeys(self._flags))

    def _merge(self, into: dict[str, Any], usage: Mapping[str, Any], depth: int) -> None:
        for name, value in kept_items(usage):
            if name not in into and len(into) >= STORED_ITEMS_MAX and name not in USAGE_NAMES:
                # A stream that invents names must not fill the memory.
                continue
            known = into.get(name)
            if value is None:
                into.setdefault(name, None)
            elif isinstance(value, dict) and depth < STORED_DEPTH_MAX:
                if not isinstance(known, dict):
                    into[name] = known = {}
                self._merge(known, value, depth + 1)
            elif self._is_summed and name in COUNT_NAMES:
                into[name] = self._sum(known, value)
            else:
                into[name] = value

    def _sum(self, known: Any, value: Any) -> Any:
        """A count that says nothing stays in the sum's place: the rest alone would be too little."""
        if known is not None and read_count(known, []) is None:
            return known
        count = read_count(value, self._flags)
        return value if count is None else (read_count(known, []) or 0) + count

"""From a provider's usage object to exclusive token pools, by way of the evidence that is stored.

The pools are read from the very object that the event keeps, so whoever recomputes a bill from its row reads the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sessions_app.llm.counts import COUNT_MAX
from sessions_app.llm.redaction import without_key
from sessions_app.llm.text import clean
from sessions_app.llm.usage_shapes import NO_LIMIT, USAGE_NAMES, ReportedUsage, UsageShape, read_shape

__all__ = ["COUNT_MAX", "ReportedUsage", "evidence", "kept_items", "read_evidence", "read_usage", "storable"]

STORED_ITEMS_MAX = 64
STORED_DEPTH_MAX = 4
_STORED_STRING_MAX_CHARS = 200
_STORED_NUMBER_LIMIT = 2**63
# Our own words in the evidence, where it cannot be read again without them: the shape that was configured, and the
# tokens that were asked for, where a total was disbelieved for being above them.
_SHAPE = "_usage_shape"
_LIMIT = "_output_limit"


def read_usage(raw: Mapping[str, Any], *, shape: UsageShape = "auto", output_limit: int = NO_LIMIT) -> ReportedUsage:
    """`output_limit`: the tokens that were asked for; only a total without its parts is measured by it."""
    return read_shape(raw, shape, output_limit)


def evidence(
    raw: Mapping[str, Any], key: str, *, shape: UsageShape = "auto", output_limit: int = NO_LIMIT
) -> dict[str, Any]:
    """What the event keeps of a usage object: enough to read it again, and nothing else is read for the bill."""
    kept = storable({name: value for name, value in raw.items() if name not in {_SHAPE, _LIMIT}}, key)
    if shape != "auto":
        kept[_SHAPE] = shape
    reported = read_usage(kept, shape=shape, output_limit=output_limit)
    if "total_differs" in reported.flags and reported != read_usage(kept, shape=shape):
        kept[_LIMIT] = output_limit
    return kept


def read_evidence(kept: Mapping[str, Any]) -> ReportedUsage:
    return read_usage(kept, shape=kept.get(_SHAPE, "auto"), output_limit=kept.get(_LIMIT, NO_LIMIT))


def storable(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The usage object in a form that jsonb can hold: bounded, no NUL, no NaN, no key of ours."""
    return {_stored_string(name, key): _stored(value, key, 1) for name, value in kept_items(raw)}


def kept_items(raw: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The first so many, and among them every count that we know: junk in front must not push the evidence out."""
    items = list(raw.items())
    if len(items) > STORED_ITEMS_MAX:
        items.sort(key=lambda item: item[0] not in USAGE_NAMES)
    return items[:STORED_ITEMS_MAX]


def _stored(value: Any, key: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _stored_number(value, key)
    if isinstance(value, str):
        return _stored_string(value, key)
    if depth >= STORED_DEPTH_MAX:
        return "[too deep]"
    if isinstance(value, dict):
        return {_stored_string(name, key): _stored(item, key, depth + 1) for name, item in kept_items(value)}
    return [_stored(item, key, depth + 1) for item in value[:STORED_ITEMS_MAX]]


def _stored_number(value: float, key: str) -> Any:
    if abs(value) < _STORED_NUMBER_LIMIT:
        # False for NaN too, which jsonb cannot hold.
        return value
    if -math.inf < value < 0:
        # A negative count is 0 however large it is, so it stays a number that says so.
        return 1 - _STORED_NUMBER_LIMIT
    return _stored_string(str(value), key)


def _stored_string(text: str, key: str) -> str:
    return without_key(clean(text), key)[:_STORED_STRING_MAX_CHARS]

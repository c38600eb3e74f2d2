"""Calls whose 8-place product is above 0 and that have no debit. L3 forbids them; a report looks and does not trust."""

from __future__ import annotations

from typing import Any

from django.db import connection

from billing.reports import sums
from billing.reports.spans import Range, split
from billing.reports.usage import UsageQuery
from billing.rollup.rolling import QUARTER

_FLAGGED = """
SELECT DISTINCT start FROM usage_rollup_totals
 WHERE start >= %s AND start < %s AND calls_without_debit > 0 ORDER BY start"""
_WITHOUT = """
SELECT count(*) OVER () AS count, created_at, user_id, turn_id, event_id, model_alias, credits_charged FROM {parts}
 WHERE credits_charged > 0
   AND NOT EXISTS (SELECT 1 FROM credit_transactions d WHERE d.event_id = parts.event_id)
 ORDER BY created_at DESC LIMIT """
_COLUMNS = "created_at, user_id, turn_id, event_id, model_alias, credits_charged"


def calls_without_debit(query: UsageQuery, *, limit: int = 1) -> tuple[int, list[dict[str, Any]]]:
    """How many there are, and the newest of them. Where quarters are rolled up only those that have some are read."""
    span = split(query.start, query.end)
    ranges = [*span.events, *(_flagged(span.quarters) if span.quarters else ())]
    rows = sums.fetch(_WITHOUT + str(int(limit)), sums.events(ranges), {}, _COLUMNS, query.conditions())
    return (rows[0]["count"] if rows else 0), rows


def _flagged(quarters: Range) -> list[Range]:
    """Times in which there are some, neighbours as one."""
    with connection.cursor() as cursor:
        cursor.execute(_FLAGGED, quarters)
        starts = [start for (start,) in cursor.fetchall()]
    ranges: list[Range] = []
    for start in starts:
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], start + QUARTER)
        else:
            ranges.append((start, start + QUARTER))
    return ranges

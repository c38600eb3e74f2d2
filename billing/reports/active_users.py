"""How many users made a call: in a span of time, and in each of its buckets.

Users do not add up: who was there on two days is one user of the week. Where quarters are rolled up, the row that
counts a user is the one before which that user was last seen outside the bucket; whom events know at the edges is held
against those. Of one user or one alias that does not help, and users are counted in the sums by user and alias.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from billing.reports import sums
from billing.reports.buckets import bucket_starts
from billing.reports.moments import one_moment
from billing.reports.spans import Range, Span, split
from billing.reports.usage import UsageQuery, by_bucket
from billing.rollup.charges import CHARGES

# `least` is where rolled quarters begin: what came before them in the same bucket is events, and counted as those.
_ROLLED = """
SELECT width_bucket(start, %(cuts)s::timestamptz[]) AS bucket, count(*) FROM usage_rollup_activity
 WHERE start >= %(least)s AND start < %(until)s AND (seen_before IS NULL
       OR seen_before < GREATEST(%(least)s, (%(cuts)s::timestamptz[])[width_bucket(start, %(cuts)s::timestamptz[])]))
 GROUP BY 1"""
_ROLLED_ONCE = """
SELECT 1 AS bucket, count(*) FROM usage_rollup_activity
 WHERE start >= %(least)s AND start < %(until)s AND (seen_before IS NULL OR seen_before < %(least)s)"""
# Those of the events whom no rolled quarter of the same bucket has counted.
_EVENTS = """
SELECT bucket, count(*) FROM (
    SELECT DISTINCT width_bucket(created_at, %(cuts)s::timestamptz[]) AS bucket, user_id FROM ({edges}) AS edges) e
 WHERE NOT EXISTS (
    SELECT 1 FROM usage_rollup_activity a
     WHERE a.user_id = e.user_id AND a.start >= GREATEST(%(least)s, (%(cuts)s::timestamptz[])[e.bucket])
       AND a.start < LEAST(%(until)s, (%(ends)s::timestamptz[])[e.bucket]))
 GROUP BY bucket"""


# Everybody once is bucket 0, which there is none of otherwise.
_OF_SOME = """
WITH seen AS MATERIALIZED (SELECT DISTINCT bucket, "user" FROM {parts})
SELECT bucket, count(*) AS users FROM seen GROUP BY bucket
 UNION ALL SELECT 0, count(*) FROM (SELECT DISTINCT "user" FROM seen) AS everybody"""


def active_users(query: UsageQuery) -> dict[str, Any]:
    """`{"active_users", "buckets": [{"start", "active_users"}]}`, all of one moment; empty buckets are left out.

    Of a query for one user or one alias: who of them called, and who called it.
    """
    starts = bucket_starts(start=query.start, end=query.end, tz=query.tz, bucket=query.bucket)
    with one_moment():
        span = split(query.start, query.end, bounds=starts)
        if query.conditions():
            everybody, counts = _of_some(query, span, starts)
        else:
            everybody = _counts(span, starts[:1], query.end).get(1, 0)
            counts = _counts(span, starts, query.end)
    buckets = [{"start": starts[number - 1], "active_users": count} for number, count in sorted(counts.items())]
    return {"active_users": everybody, "buckets": buckets}


def _of_some(query: UsageQuery, span: Span, starts: list[datetime]) -> tuple[int, dict[int, int]]:
    parts, keys = by_bucket(sums.quarters(span, "usage_rollups"), starts)
    rows = sums.fetch(_OF_SOME, parts, {**keys, "user": "user_id"}, "", query.conditions())
    counts = {row["bucket"]: row["users"] for row in rows}
    return counts.pop(0, 0), counts


def _counts(span: Span, cuts: Sequence[datetime], end: datetime) -> dict[int, int]:
    """Users by the number of their bucket."""
    least, until = span.quarters or (end, end)
    values = {"cuts": list(cuts), "ends": [*cuts[1:], end], "least": least, "until": until}
    counts: dict[int, int] = {}
    if span.quarters:
        _add(counts, _ROLLED if len(cuts) > 1 else _ROLLED_ONCE, values)
    if span.events:
        edges, more = _edges(span.events)
        _add(counts, _EVENTS.replace("{edges}", edges), values | more)
    return counts


def _add(counts: dict[int, int], statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        for number, count in cursor.fetchall():
            if count:
                counts[number] = counts.get(number, 0) + count


def _edges(ranges: Sequence[Range]) -> tuple[str, dict[str, datetime]]:
    """The events in the ranges, as a statement with its values."""
    selects: list[str] = []
    values: dict[str, datetime] = {}
    for number, (low, high) in enumerate(ranges):
        within = f"created_at >= %(low{number})s AND created_at < %(high{number})s"
        selects.append(f"SELECT created_at, user_id FROM {CHARGES} WHERE {within}")  # noqa: S608 - names only
        values |= {f"low{number}": low, f"high{number}": high}
    return " UNION ALL ".join(selects), values

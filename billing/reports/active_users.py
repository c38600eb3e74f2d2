"""How many users made a call: in a span of time, and in each of its buckets.

Users do not add up: who was there on two days is one user of the week. Where quarters are rolled up, the row that
counts a user is the one before which that user was last seen outside the bucket; whom events know at the edges is held
against those. Of one user or one alias that does not help, and users are counted in the sums by user and alias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import connection

from billing.reports import sums
from billing.reports.buckets import bucket_starts
from billing.reports.moments import one_moment
from billing.reports.spans import Range, Span, split
from billing.reports.usage import UsageQuery
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


# Bucket by bucket, in each of which those of one alias are few: all at once they would be one large hash table.
_OF_SOME = """
SELECT number, (SELECT count(*) FROM (SELECT DISTINCT "user" FROM ({rows}) AS parts) AS users)
  FROM unnest(%s::timestamptz[], %s::timestamptz[]) WITH ORDINALITY AS bucket(begins, ends, number)"""
_WITHIN_BUCKET = "{where} AND {time} >= bucket.begins AND {time} < bucket.ends"


def active_users(query: UsageQuery) -> dict[str, Any]:
    """`{"active_users", "buckets": [{"start", "active_users"}]}`, all of one moment; empty buckets are left out.

    Of a query for one user or one alias: who of them called, and who called it.
    """
    starts = bucket_starts(start=query.start, end=query.end, tz=query.tz, bucket=query.bucket)
    with one_moment():
        span = split(query.start, query.end, bounds=starts)
        counted = _counts_of_some if query.conditions() else _counts
        counts, everybody = counted(query, span, starts), counted(query, span, starts[:1])
    buckets = [{"start": starts[number - 1], "active_users": count} for number, count in sorted(counts.items())]
    return {"active_users": everybody.get(1, 0), "buckets": buckets}


def _counts_of_some(query: UsageQuery, span: Span, cuts: Sequence[datetime]) -> dict[int, int]:
    """Users by the number of their bucket, as below, but of one user or one alias."""
    parts = [
        replace(part, where=_WITHIN_BUCKET.format(where=part.where, time=part.time))
        for part in sums.quarters(span, "usage_rollups")
    ]  # fmt: skip
    if not parts:
        return {}
    rows, values = sums.union(parts, {"user": "user_id"}, "", query.conditions())
    with connection.cursor() as cursor:
        cursor.execute(_OF_SOME.format(rows=rows), [*values, list(cuts), [*cuts[1:], query.end]])
        return {number: users for number, users in cursor.fetchall() if users}


def _counts(query: UsageQuery, span: Span, cuts: Sequence[datetime]) -> dict[int, int]:
    """Users by the number of their bucket."""
    least, until = span.quarters or (query.end, query.end)
    values = {"cuts": list(cuts), "ends": [*cuts[1:], query.end], "least": least, "until": until}
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

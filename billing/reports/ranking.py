"""Who was charged most in a span, without adding everybody up.

An index has the subjects of each month in the order of their credits; what is not of whole months (the edges) is added
up by itself. The first of each of these lists are candidates, and their sums are exact. Who is on none of the lists has
at most what the last of each have together. So where those who are asked for have more than that, nobody is missed: the
threshold algorithm of Fagin, Lotem and Naor, "Optimal aggregation algorithms for middleware" (2003).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from billing.reports import sums
from billing.reports.spans import Span
from billing.rollup.charges import ALL_ALIASES

# How far down each list: twenty of 330,000 are certain after a few hundred.
_DEEP = 2_000
_DEEPER_THAN_ASKED = 4

_NO_EDGES = "SELECT user_id AS subject, user_id AS owner, calls, credits_charged FROM usage_rollups WHERE false"
_EDGES = """
edges AS MATERIALIZED (
    SELECT subject, owner, sum(calls) AS calls, sum(credits_charged) AS charged FROM ({parts}) AS parts
     GROUP BY subject, owner)"""
_LIST_OF_EDGES = """
list_0 AS MATERIALIZED (SELECT subject, owner, charged FROM edges ORDER BY charged DESC LIMIT %s)"""
_LIST_OF_MONTH = """
list_{number} AS MATERIALIZED (
    SELECT subject_id AS subject, user_id AS owner, credits_charged AS charged FROM usage_rollup_months
     WHERE start = %s AND subject = %s AND model_alias = %s ORDER BY credits_charged DESC LIMIT %s)"""
# A list that ends before its limit has everybody who had anything there.
_FOUND = """
ends AS ({ends}),
others AS MATERIALIZED (
    SELECT bool_and(length < %s) AS there_are_none, sum(CASE WHEN length < %s THEN 0 ELSE GREATEST(last, 0) END) AS most
      FROM ends),
candidates AS ({candidates}),
found AS (
    SELECT c.subject, c.owner, COALESCE(m.calls, 0) + COALESCE(e.calls, 0) AS calls,
           COALESCE(m.charged, 0) + COALESCE(e.charged, 0) AS charged
      FROM candidates c LEFT JOIN edges e ON e.subject = c.subject AND e.owner = c.owner
      LEFT JOIN LATERAL (
            SELECT sum(calls) AS calls, sum(credits_charged) AS charged FROM usage_rollup_months
             WHERE subject_id = c.subject AND start = ANY(%s) AND subject = %s AND model_alias = %s) m ON true)
SELECT found.subject, found.owner, charged > most, there_are_none
  FROM found, others WHERE calls <> 0 OR charged <> 0 ORDER BY charged DESC, found.subject LIMIT %s"""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Those charged most. A group is the id of its user, room or agent, and the other key where there is one.

    `is_everybody`: there are no others.
    """

    groups: list[tuple[Any, ...]]
    owners: set[UUID]
    is_everybody: bool


def charged_most(
    span: Span, subject: str, *, limit: int, conditions: Mapping[str, Any], deep: int | None = None
) -> Ranked | None:  # fmt: skip
    """The users, rooms or agents that were charged most; None where that can only be told by adding everybody up.

    To be asked inside a snapshot. `conditions`: a `model_alias` alone, or none. `deep`: how many of each list are read.
    """
    deep = deep or max(_DEEP, _DEEPER_THAN_ASKED * limit)
    statement, values = _statement(span, subject, conditions, deep)
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, limit + 1])
        rows = cursor.fetchall()
    if not rows:
        return None
    first = rows[:limit]
    is_ahead_of_others, there_are_no_others = first[-1][2:]
    if not (there_are_no_others or (is_ahead_of_others and len(rows) > limit)):
        return None
    return Ranked([(one,) for one, *_ in first], {row[1] for row in first}, is_everybody=len(rows) <= limit)


def charged_most_of_all(
    parts: Sequence[sums.Part], subject: str, keys: Mapping[str, str], *, limit: int, conditions: Mapping[str, Any]
) -> Ranked:
    """The same by adding up everybody's credits, also of a subject by alias."""
    names = (subject, *(name for name in keys if name != subject))
    owned = {**keys, "owner": "user_id"}
    rows = sums.fetch(
        f"SELECT {sums.quoted(*owned)}, sum(credits_charged) AS charged FROM {{parts}} GROUP BY {sums.quoted(*owned)}"  # noqa: S608
        f" {{something}} ORDER BY charged DESC, {sums.quoted(*keys)} LIMIT {limit + 1}",
        parts, owned, "calls, credits_charged", conditions,
    )  # fmt: skip
    first = rows[:limit]
    groups = [tuple(row[name] for name in names) for row in first]
    return Ranked(groups, {row["owner"] for row in first}, is_everybody=len(rows) <= limit)


def _statement(span: Span, subject: str, conditions: Mapping[str, Any], deep: int) -> tuple[str, list[Any]]:
    alias = conditions["model_alias"][0] if conditions else ALL_ALIASES
    begins, parts = sums.months_and_edges(span, subject)
    keys = {"subject": f"{subject}_id", "owner": "user_id"}
    edges, values = sums.union(parts, keys, "calls, credits_charged", conditions) if parts else (_NO_EDGES, [])
    lists = [_LIST_OF_EDGES, *(_LIST_OF_MONTH.format(number=number) for number, _ in enumerate(begins, start=1))]
    names = [f"list_{number}" for number, _ in enumerate(lists)]
    ends = " UNION ALL ".join(f"SELECT count(*) AS length, min(charged) AS last FROM {name}" for name in names)  # noqa: S608
    candidates = " UNION ".join(f"SELECT subject, owner FROM {name}" for name in names)  # noqa: S608
    pieces = [_EDGES.format(parts=edges), *lists, _FOUND.format(ends=ends, candidates=candidates)]
    of_months = [value for begin in begins for value in (begin, subject, alias, deep)]
    return "WITH " + ",".join(pieces), [*values, deep, *of_months, deep, deep, begins, subject, alias]

"""Usage by time and by group: totals, breakdown and buckets, equal to a sum over the events to the last place.

An event counts at the time of the transaction that settled it (`created_at`), so a month that is closed stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from billing.reports import sums
from billing.reports.buckets import bucket_starts
from billing.reports.moments import one_moment
from billing.reports.spans import Span, split

GROUPS = {
    "model_alias": "model_alias",
    "agent": "agent_id",
    "room": "room_id",
    "session": "session_id",
    "purpose": "purpose",
    "user": "user_id",
}
SUBJECTS = ("user", "room", "agent")
# Up to here looking for them first is faster than adding everything up of everybody.
FEW = 10_000
_BUCKET = {"bucket": "width_bucket({time}, %s::timestamptz[])"}


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A half-open range [start, end), read in a time zone. `user_id` None means everybody (staff)."""

    start: datetime
    end: datetime
    tz: ZoneInfo
    bucket: str = "day"
    group_by: tuple[str, ...] = ("model_alias",)
    user_id: UUID | None = None
    model_alias: str | None = None

    def conditions(self) -> dict[str, list[Any]]:
        wanted = {"user_id": self.user_id, "model_alias": self.model_alias}
        return {column: [value] for column, value in wanted.items() if value is not None}


def usage_report(query: UsageQuery, *, limit: int | None = None) -> dict[str, Any]:
    """`{"totals", "breakdown", "buckets", "groups", "others"}`, all of one moment.

    The buckets add up to the totals, and so does the breakdown; empty buckets are left out. `limit`: only the groups
    that were charged most, the rest being added up in `others`; `groups` is how many there are.
    """
    with one_moment():
        buckets = by_time(query)
        totals = sums.total(buckets)
        breakdown, groups = by_group(query, limit=limit)
    others = sums.difference(totals, sums.total(breakdown)) if len(breakdown) < groups else None
    return {"totals": totals, "breakdown": breakdown, "buckets": buckets, "groups": groups, "others": others}


def by_time(query: UsageQuery) -> list[sums.Row]:
    """The sums of each bucket in which there was anything."""
    starts = bucket_starts(start=query.start, end=query.end, tz=query.tz, bucket=query.bucket)
    span = split(query.start, query.end, bounds=starts)
    table = "usage_rollups" if query.user_id else "usage_rollup_totals"
    parts, keys = by_bucket(sums.quarters(span, table), starts)
    return sums.times(sums.added_up(parts, keys, query.conditions()), starts)


def by_group(query: UsageQuery, *, limit: int | None = None) -> tuple[list[sums.Row], int]:
    """The sums of each group, those charged most first, and how many groups there are."""
    span = split(query.start, query.end)
    keys = {name: GROUPS[name] for name in query.group_by}
    subject = _subject_alone(query)
    if subject is None:
        rows = sums.added_up(_parts(query, span), keys, query.conditions())
        groups = len(rows)
    else:
        parts = [_of_somebody(part, subject) for part in _months(query, span, subject)]
        rows, groups = _charged_most(query, parts, subject, limit) if limit and limit <= FEW else _all(query, parts)
        # They have no room and no agent, and are one group more.
        direct = [] if subject == "user" else _direct(query, span, subject)
        rows, groups = [*rows, *direct], groups + len(direct)
    rows.sort(key=lambda row: (-row["credits_charged"], *[str(row[name]) for name in query.group_by]))
    return rows[:limit], groups


def by_bucket(parts: Sequence[sums.Part], starts: list[datetime]) -> tuple[list[sums.Part], dict[str, str]]:
    """Parts, and the key that says in which bucket a row is. Its boundaries go first, as the statement names them."""
    return [replace(part, values=(starts, *part.values)) for part in parts], dict(_BUCKET)


def _parts(query: UsageQuery, span: Span) -> list[sums.Part]:
    names = set(query.group_by)
    if "session" in names:
        return sums.events([(query.start, query.end)])
    if query.user_id is None and names <= {"model_alias", "purpose"}:
        return sums.quarters(span, "usage_rollup_totals")
    return sums.quarters(span, "usage_rollups")


def _months(query: UsageQuery, span: Span, subject: str) -> list[sums.Part]:
    return sums.months(span, subject, by_alias=query.model_alias is not None or "model_alias" in query.group_by)


def _subject_alone(query: UsageQuery) -> str | None:
    """The subject of a breakdown over all users that months know: by user, room or agent, and alias."""
    if query.user_id is not None:
        return None
    subjects = [name for name in query.group_by if name in SUBJECTS]
    return subjects[0] if len(subjects) == 1 and set(query.group_by) <= {subjects[0], "model_alias"} else None


def _all(query: UsageQuery, parts: list[sums.Part], **more: Any) -> tuple[list[sums.Row], int]:
    keys = {name: GROUPS[name] for name in query.group_by}
    rows = sums.added_up(parts, keys, {**query.conditions(), **more})
    return rows, len(rows)


def _charged_most(
    query: UsageQuery, parts: list[sums.Part], subject: str, limit: int
) -> tuple[list[sums.Row], int]:  # fmt: skip
    """The groups charged most are found by their credits alone; all their sums are then read of those few."""
    keys = {name: GROUPS[name] for name in query.group_by}
    # An index leads from a user to what was theirs, so whose room or agent it is is asked along.
    owner = "user" if subject == "user" else "owner"
    owned = {**keys, owner: "user_id"}
    by = sums.quoted(*owned)
    found = sums.fetch(
        f"SELECT {by}, sum(credits_charged) AS charged, count(*) OVER () AS groups FROM {{parts}} GROUP BY {by}"  # noqa: S608
        f" {{something}} ORDER BY charged DESC, {sums.quoted(*query.group_by)} LIMIT {int(limit)}",
        parts, owned, "calls, credits_charged", query.conditions(),
    )  # fmt: skip
    few = {"user_id": {row[owner] for row in found}, f"{subject}_id": {row[subject] for row in found}}
    rows, _ = _all(query, parts, **few) if found else ([], 0)
    wanted = {tuple(row[name] for name in query.group_by) for row in found}
    rows = [row for row in rows if tuple(row[name] for name in query.group_by) in wanted]
    return rows, found[0]["groups"] if found else 0


def _of_somebody(part: sums.Part, subject: str) -> sums.Part:
    column = part.names.get(f"{subject}_id", f"{subject}_id")
    return replace(part, where=f"{part.where} AND {column} IS NOT NULL")


def _direct(query: UsageQuery, span: Span, subject: str) -> list[sums.Row]:
    keys = {"purpose": "purpose"} | {name: GROUPS[name] for name in query.group_by if name == "model_alias"}
    parts = sums.quarters(span, "usage_rollup_totals")
    rows = sums.added_up(parts, keys, {**query.conditions(), "purpose": ["direct"]})
    return [{subject: None} | row for row in rows if row["calls"]]

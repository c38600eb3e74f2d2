"""Usage by time and by group: totals, breakdown and buckets, equal to a sum over the events to the last place.

An event counts at the time of the transaction that settled it (`created_at`), so a month that is closed stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from billing.reports import ranking, sums
from billing.reports.buckets import bucket_starts
from billing.reports.moments import one_moment
from billing.reports.ranking import Ranked
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
# Up to here looking for them first is faster than all sums of everybody.
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

    def keys(self) -> dict[str, str]:
        return {name: GROUPS[name] for name in self.group_by}

    def conditions(self) -> dict[str, list[Any]]:
        wanted = {"user_id": self.user_id, "model_alias": self.model_alias}
        return {column: [value] for column, value in wanted.items() if value is not None}


def usage_report(query: UsageQuery, *, limit: int | None = None) -> dict[str, Any]:
    """`{"totals", "breakdown", "buckets", "others"}`, all of one moment.

    The buckets add up to the totals, and so does the breakdown; empty buckets are left out. `limit`: only the groups
    that were charged most, the rest being added up in `others`, which is None where there is no rest.
    """
    with one_moment():
        buckets = by_time(query)
        totals = sums.total(buckets)
        breakdown, is_all = by_group(query, limit=limit)
    others = None if is_all else sums.difference(totals, sums.total(breakdown))
    return {"totals": totals, "breakdown": breakdown, "buckets": buckets, "others": others}


def by_time(query: UsageQuery) -> list[sums.Row]:
    """The sums of each bucket in which there was anything."""
    starts = bucket_starts(start=query.start, end=query.end, tz=query.tz, bucket=query.bucket)
    span = split(query.start, query.end, bounds=starts)
    table = "usage_rollups" if query.user_id else "usage_rollup_totals"
    # The boundaries go first, as the statement names them first.
    parts = [replace(part, values=(starts, *part.values)) for part in sums.quarters(span, table)]
    return sums.times(sums.added_up(parts, _BUCKET, query.conditions()), starts)


def by_group(query: UsageQuery, *, limit: int | None = None) -> tuple[list[sums.Row], bool]:
    """The sums of each group, those charged most first, and whether these are all of them."""
    span = split(query.start, query.end)
    subject = _subject_alone(query)
    if subject is None:
        rows, is_all = sums.added_up(_parts(query, span), query.keys(), query.conditions()), True
    else:
        rows, is_all = _by_subject(query, span, subject, limit)
    rows.sort(key=lambda row: (-row["credits_charged"], *[str(row[name]) for name in query.group_by]))
    return rows[:limit], is_all and (limit is None or len(rows) <= limit)


def _by_subject(query: UsageQuery, span: Span, subject: str, limit: int | None) -> tuple[list[sums.Row], bool]:
    # They have no room and no agent, and are one group more.
    direct = [] if subject == "user" else _direct(query, span, subject)
    if limit is None or limit > FEW:
        return [*sums.added_up(_months(query, span, subject), query.keys(), query.conditions()), *direct], True
    first = None
    if query.group_by == (subject,):
        first = ranking.charged_most(span, subject, limit=limit, conditions=query.conditions())
    if first is None:
        first = ranking.charged_most_of_all(
            _months(query, span, subject), subject, query.keys(), limit=limit, conditions=query.conditions()
        )
    return [*_sums_of(query, span, subject, first), *direct], first.is_everybody


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


def _sums_of(query: UsageQuery, span: Span, subject: str, first: Ranked) -> list[sums.Row]:
    """All sums of those few. An index leads from a user to what was theirs, so their owners are asked for along."""
    if not first.groups:
        return []
    few = {"user_id": list(first.owners), f"{subject}_id": list({group[0] for group in first.groups})}
    rows = sums.added_up(_months(query, span, subject), query.keys(), {**query.conditions(), **few})
    names = (subject, *(name for name in query.group_by if name != subject))
    wanted = set(first.groups)
    return [row for row in rows if tuple(row[name] for name in names) in wanted]


def _direct(query: UsageQuery, span: Span, subject: str) -> list[sums.Row]:
    keys = {"purpose": "purpose"} | {name: GROUPS[name] for name in query.group_by if name == "model_alias"}
    parts = sums.quarters(span, "usage_rollup_totals")
    rows = sums.added_up(parts, keys, {**query.conditions(), "purpose": ["direct"]})
    return [{subject: None} | row for row in rows if row["calls"]]

"""Usage by time and by group: totals, breakdown and buckets from one pass each over the events.

Tool calls that cost something are among them, with the purpose `tool`, so that the credits add up to the ledger's.
An event counts at the time of the transaction that settled it (`created_at`), so a month that is closed stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour, TruncMonth, TruncWeek

from billing.models import ChargedEvent
from config.core.money import ZERO

BUCKETS = {"hour": TruncHour, "day": TruncDay, "week": TruncWeek, "month": TruncMonth}
GROUPS = {
    "model_alias": "model_alias",
    "agent": "agent_id",
    "room": "room_id",
    "session": "session_id",
    "purpose": "purpose",
    "user": "user_id",
}
_SUMS = {
    "call_count": Count("id"),
    "input_tokens_fresh": Sum("input_tokens_fresh") + Sum("input_tokens_cache_write"),
    "input_tokens_cached": Sum("input_tokens_cached"),
    "output_tokens": Sum("output_tokens"),
    "oe_tokens": Sum("oe_tokens_computed"),
    "credits_burned": Sum("credits_burned"),
    "credits_charged": Sum("credits_charged"),
}


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A half-open range [start, end), read in a time zone. `user_id` None means everybody (staff)."""

    start: datetime
    end: datetime
    tz: ZoneInfo
    bucket: str = "day"
    group_by: tuple[str, ...] = ("model_alias",)
    user_id: UUID | None = None
    filters: dict[str, Any] = field(default_factory=dict)


def usage_report(query: UsageQuery) -> dict[str, Any]:
    """`{"totals", "breakdown", "buckets"}`.

    The buckets, like the breakdown, add up to the totals. Empty ones are left out.
    """
    events = _events(query)
    columns = {name: F(GROUPS[name]) for name in query.group_by if GROUPS[name] != name}
    names = [name for name in query.group_by if name not in columns]
    breakdown = events.values(*names, **columns).annotate(**_SUMS).order_by("-credits_charged", *query.group_by)
    truncated = BUCKETS[query.bucket]("created_at", tzinfo=query.tz)
    buckets = events.annotate(start=truncated).values("start").annotate(**_SUMS).order_by("start")
    return {"totals": _totals(events), "breakdown": list(breakdown), "buckets": list(buckets)}


def _totals(events: QuerySet[ChargedEvent]) -> dict[str, Any]:
    sums = events.aggregate(**_SUMS)
    return {name: ZERO if value is None else value for name, value in sums.items()}


def _events(query: UsageQuery) -> QuerySet[ChargedEvent]:
    events = ChargedEvent.objects.filter(created_at__gte=query.start, created_at__lt=query.end, **query.filters)
    return events.filter(user_id=query.user_id) if query.user_id else events

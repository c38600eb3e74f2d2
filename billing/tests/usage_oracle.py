"""What a report must come to, added up here from single events, without a rollup and without SQL that groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from billing.models import LLMCallEvent
from billing.reports.usage import GROUPS
from billing.rollup.charges import DECIMALS, MEASURES

Sums = dict[str, Any]


def measures_of(event: LLMCallEvent) -> Sums:
    is_estimated = event.usage_source in {"estimated", "partial"}
    is_known = event.provider_cost_usd is not None
    return {
        "calls": 1,
        "calls_estimated": int(is_estimated),
        "calls_without_cost": int(not is_known),
        "input_tokens_fresh": event.input_tokens_fresh + event.input_tokens_cache_write,
        "input_tokens_cached": event.input_tokens_cached,
        "output_tokens": event.output_tokens,
        "oe_tokens": event.oe_tokens_computed,
        "credits_burned": event.credits_burned,
        "credits_charged": event.credits_charged,
        "credits_estimated": event.credits_charged if is_estimated else Decimal(0),
        "credits_with_cost": event.credits_charged if is_known else Decimal(0),
        "provider_cost_usd": event.provider_cost_usd or Decimal(0),
    }


def added_up(events: list[LLMCallEvent]) -> Sums:
    rows = [measures_of(event) for event in events]
    return {name: sum((row[name] for row in rows), Decimal(0) if name in DECIMALS else 0) for name in MEASURES}


def events_of(start: datetime, end: datetime, **where: Any) -> list[LLMCallEvent]:
    return list(LLMCallEvent.objects.filter(created_at__gte=start, created_at__lt=end, **where))


def grouped(events: list[LLMCallEvent], key: Callable[[LLMCallEvent], Any]) -> dict[Any, Sums]:
    groups = defaultdict(list)
    for event in events:
        groups[key(event)].append(event)
    return {group: added_up(members) for group, members in groups.items()}


def by_group(events: list[LLMCallEvent], *names: str) -> dict[Any, Sums]:
    return grouped(events, lambda event: tuple(getattr(event, GROUPS[name]) for name in names))


def local_bucket(time: datetime, tz: ZoneInfo, bucket: str) -> Any:
    """What a wall clock and a calendar there say of a time. An hour that is shown twice is two."""
    local = time.astimezone(tz)
    return {
        "hour": (local.strftime("%Y-%m-%d %H"), local.utcoffset()),
        "day": local.date(),
        "week": local.isocalendar()[:2],
        "month": (local.year, local.month),
    }[bucket]


def of_report(rows: list[Sums]) -> list[Sums]:
    """A report's rows, their measures alone."""
    return [{name: row[name] for name in MEASURES} for row in rows]

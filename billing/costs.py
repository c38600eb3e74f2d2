"""Credits charged against what providers cost, day by day. A closed day does not change, so it is compared once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Sum
from django.utils import timezone

from billing.cost_rules import AliasDay, Limits, credits_per_usd, judge
from billing.models import CostDay, CostFinding
from config.core.jsonb import decoded
from config.core.transactions import retrying

# How far back nights that were missed are caught up.
LOOK_BACK_DAYS = 31
MEDIAN_DAYS = 7
# An event's time is read under the wallet's lock, before its commit, and the lock is lost after seconds of silence. A
# quarter of an hour after midnight nothing of the day before can still be on its way, clocks of two machines included.
CLOSED_AFTER = timedelta(minutes=15)

_READ = """
WITH by_status AS (
    SELECT provider, model_alias, status, count(*) AS calls, sum(credits_charged) AS credits,
           COALESCE(sum(credits_charged) FILTER (WHERE provider_cost_usd IS NOT NULL), 0) AS credits_with_cost,
           COALESCE(sum(provider_cost_usd), 0) AS usd,
           count(*) FILTER (WHERE provider_cost_usd IS NULL) AS without_cost,
           count(*) FILTER (WHERE usage_flags @> '["process_died"]') AS lost,
           count(*) FILTER (WHERE usage_flags @> '["charge_above_hold"]') AS above_hold,
           count(*) FILTER (WHERE provider_cost_usd IS NULL AND credits_charged > 0) AS billed_without_cost,
           count(*) FILTER (WHERE provider_cost_usd > 0 AND credits_charged = 0) AS unpaid,
           COALESCE(sum(provider_cost_usd) FILTER (WHERE credits_charged = 0), 0) AS unpaid_usd
      FROM llm_call_events WHERE created_at >= %s AND created_at < %s
     GROUP BY provider, model_alias, status)
SELECT provider, model_alias, sum(calls)::bigint, sum(credits), sum(credits_with_cost), sum(usd),
       sum(without_cost)::bigint, sum(lost)::bigint, sum(above_hold)::bigint, sum(billed_without_cost)::bigint,
       COALESCE(jsonb_object_agg(status, unpaid) FILTER (WHERE unpaid > 0), '{}'), sum(unpaid_usd)
  FROM by_status GROUP BY provider, model_alias ORDER BY provider, model_alias
"""


def newest_closed_day(now: datetime | None = None) -> date:
    """The last UTC day that no transaction can add to any more."""
    return ((now or timezone.now()) - CLOSED_AFTER).astimezone(UTC).date() - timedelta(days=1)


def compare_missed(now: datetime | None = None) -> list[date]:
    """Compare each closed day of the last month that has not been; returns those that had calls, oldest first.

    A day without calls leaves no row and is looked at again: a probe of an index that finds nothing.
    Idempotent:  yes; safe to run twice at once.
    """
    newest = newest_closed_day(now)
    days = [newest - timedelta(days=ago) for ago in reversed(range(LOOK_BACK_DAYS))]
    done = set(CostDay.objects.filter(day__range=(days[0], newest)).values_list("day", flat=True))
    # Oldest first: the median of a day's rates is made of the days before it.
    return [day for day in days if day not in done and compare_day(day)]


def compare_day(day: date) -> bool:
    """Sum up one closed UTC day and judge it by the settings of now; False where it had no calls.

    Units:       credits and USD at 8 places, decimals throughout.
    Locks:       none; no money moves.
    Idempotent:  yes: the sums are kept as they are, the findings are made anew. Safe to run twice at once.
    """
    return retrying(lambda: _compare(day))


def _compare(day: date) -> bool:
    with transaction.atomic():
        costs = _read(day)
        # Sorted by the statement, so that two who run at once insert in one order and cannot deadlock.
        CostDay.objects.bulk_create([_row(day, cost) for cost in costs], ignore_conflicts=True)
        CostFinding.objects.filter(day=day).delete()
        CostFinding.objects.bulk_create(_findings(day, costs), ignore_conflicts=True)
    return bool(costs)


def _read(day: date) -> list[AliasDay]:
    start = datetime.combine(day, time.min, UTC)
    with connection.cursor() as cursor:
        cursor.execute(_READ, [start, start + timedelta(days=1)])
        rows = cursor.fetchall()
    return [_alias_day(*row) for row in rows]


def _alias_day(*columns: Any) -> AliasDay:
    *sums, unpaid, unpaid_usd = columns
    values: list[Any] = [*sums, decoded(unpaid), unpaid_usd]
    return AliasDay(*values)


def _row(day: date, cost: AliasDay) -> CostDay:
    return CostDay(
        day=day,
        provider=cost.provider,
        model_alias=cost.model_alias,
        calls=cost.calls,
        credits_charged=cost.credits_charged,
        credits_with_cost=cost.credits_with_cost,
        provider_cost_usd=cost.provider_cost_usd,
        calls_without_cost=cost.calls_without_cost,
        calls_lost=cost.calls_lost,
        charges_above_hold=cost.charges_above_hold,
    )


def _findings(day: date, costs: Sequence[AliasDay]) -> list[CostFinding]:
    limits = Limits(settings.CREDIT_USD_VALUE, settings.COST_DRIFT_PERCENT)
    rates = _rates_before(day)
    return [
        CostFinding(day=day, kind=odd.kind, provider=cost.provider, model_alias=cost.model_alias, detail=odd.detail)
        for cost in costs
        for odd in judge(cost, rates_before=rates[cost.model_alias], limits=limits)
    ]


def _rates_before(day: date) -> defaultdict[str, list[Decimal]]:
    """Each alias's credits per USD on the days before, whichever provider it led to: a dearer one is a drift, too."""
    rates: defaultdict[str, list[Decimal]] = defaultdict(list)
    sums = (
        CostDay.objects.filter(day__range=(day - timedelta(days=MEDIAN_DAYS), day - timedelta(days=1)))
        .values("day", "model_alias")
        .annotate(
            credits=Sum("credits_with_cost"),
            usd=Sum("provider_cost_usd"),
            known=Sum(F("calls") - F("calls_without_cost")),
        )
    )
    for row in sums:
        rate = credits_per_usd(credits=row["credits"], usd=row["usd"], calls=row["known"])
        if rate is not None:
            rates[row["model_alias"]].append(rate)
    return rates

"""What the newest compared day cost, for a scrape. From the database, so it is the same at every process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal

from django.db import connection
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from billing.cost_rules import KINDS

_NEWEST = "(SELECT max(day) FROM cost_days)"
_DAY = f"""
SELECT day, model_alias, sum(credits_charged), sum(provider_cost_usd) FROM cost_days WHERE day = {_NEWEST}
 GROUP BY day, model_alias ORDER BY model_alias
"""  # noqa: S608 - constants only
_FINDINGS = f"SELECT kind, count(*) FROM cost_findings WHERE day = {_NEWEST} GROUP BY kind"  # noqa: S608 - constants only


def stored() -> Iterator[Metric]:
    """Raises: DatabaseError, InterfaceError."""
    with connection.cursor() as cursor:
        cursor.execute(_DAY)
        aliases = cursor.fetchall()
        cursor.execute(_FINDINGS)
        counts = dict(cursor.fetchall())
    findings = GaugeMetricFamily(
        "tallyroom_cost_findings", "Findings about the newest compared day, by kind.", labels=["kind"]
    )
    for kind in KINDS:
        findings.add_metric([kind], counts.get(kind, 0))
    yield findings
    if aliases:
        yield from _newest_day(aliases)


def _newest_day(aliases: list[tuple[date, str, Decimal, Decimal]]) -> Iterator[Metric]:
    # Floats, for graphs: the decimals are in `cost_days`.
    credits = GaugeMetricFamily(
        "tallyroom_cost_credits", "Credits charged on the newest compared day, about.", labels=["model_alias"]
    )
    usd = GaugeMetricFamily(
        "tallyroom_cost_usd", "What providers cost on the newest compared day, in USD, about.", labels=["model_alias"]
    )
    for _, model_alias, day_credits, day_usd in aliases:
        credits.add_metric([model_alias], float(day_credits))
        usd.add_metric([model_alias], float(day_usd))
    midnight = datetime.combine(aliases[0][0], time.min, UTC).timestamp()
    yield credits
    yield usd
    yield GaugeMetricFamily(
        "tallyroom_cost_day_timestamp_seconds", "When the newest compared day began, as Unix time.", value=midnight
    )

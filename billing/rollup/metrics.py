"""How far usage is rolled up and whether it agrees with its events, for a scrape."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

_STATE = """
SELECT extract(epoch FROM rolled_up_to)::float8, extract(epoch FROM checked_at)::float8, days_checked, days_differing
  FROM usage_rollup_state
"""


def stored() -> Iterator[Metric]:
    """Each is absent until it has happened once. Raises: DatabaseError, InterfaceError."""
    with connection.cursor() as cursor:
        cursor.execute(_STATE)
        rolled_up_to, checked_at, checked, differing = cursor.fetchone() or (None, None, 0, 0)
    if rolled_up_to is not None:
        yield GaugeMetricFamily(
            "tallyroom_usage_rolled_up_to_timestamp_seconds",
            "Up to when usage is rolled up, as Unix time: reports read single events from there on.",
            value=rolled_up_to,
        )
    if checked_at is not None:
        for name, documentation, value in (
            ("days_checked", "Days that the last check of the usage rollup held against their events.", checked),
            ("days_differing", "Of those, the days that are not what their events come to.", differing),
            ("check_timestamp_seconds", "When the usage rollup was last checked, as Unix time.", checked_at),
        ):
            yield GaugeMetricFamily(f"tallyroom_usage_rollup_{name}", documentation, value=value)

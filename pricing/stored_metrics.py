"""Which prices are in force at the time of a scrape."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client.metrics_core import InfoMetricFamily, Metric


def stored() -> Iterator[Metric]:
    """Raises: DatabaseError, InterfaceError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT version, revision FROM pricing_versions WHERE status = 'active'")
        rows = cursor.fetchall()
    info = InfoMetricFamily("tallyroom_pricing", "The price version in force and its revision.")
    for version, revision in rows:
        info.add_metric((), {"pricing_version": version, "revision": str(revision)})
    yield info

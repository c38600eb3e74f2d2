"""What the turns' rows say at the time of a scrape: the truth for all processes on all machines."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from sessions_app.leases import LEASE_LOST, lease_parameters

_TURNS = f"""
SELECT count(*), count(*) FILTER (WHERE {LEASE_LOST}) FROM turns WHERE status IN ('queued', 'running')
"""  # noqa: S608 - constants only


def stored() -> Iterator[Metric]:
    """Raises: DatabaseError, InterfaceError."""
    with connection.cursor() as cursor:
        cursor.execute(_TURNS, lease_parameters())
        active, lost = cursor.fetchone()
    yield GaugeMetricFamily("tallyroom_turns_stored_running", "Turns that have not ended, anywhere.", value=active)
    yield GaugeMetricFamily(
        "tallyroom_turns_lease_lost", "Turns whose process is gone and that nobody has ended yet.", value=lost
    )

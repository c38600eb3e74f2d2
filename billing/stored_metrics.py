"""What the money tables say at the time of a scrape: the truth for all processes on all machines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from billing import cost_metrics
from billing.alerts import metrics as alert_metrics
from billing.invariants.findings import INVARIANTS
from billing.rollup import metrics as rollup_metrics
from config.core.jsonb import decoded

_HOLDS = "SELECT count(*), COALESCE(sum(amount), 0) FROM credit_holds WHERE status = 'open'"
_LAST_CHECK = """
SELECT ok, violations, violations_by_invariant, wallets_checked, entries_checked, started_at, finished_at
  FROM ledger_checks ORDER BY finished_at DESC LIMIT 1
"""


class _LastCheckRow(NamedTuple):
    ok: bool
    violations: int
    by_invariant: Any
    wallets: int
    entries: int
    started_at: datetime
    finished_at: datetime


def stored() -> Iterator[Metric]:
    """Raises: DatabaseError, InterfaceError."""
    with connection.cursor() as cursor:
        cursor.execute(_HOLDS)
        holds, held = cursor.fetchone()
        cursor.execute(_LAST_CHECK)
        last_check = cursor.fetchone()
    yield GaugeMetricFamily("tallyroom_holds_open", "Holds that are open.", value=holds)
    yield GaugeMetricFamily("tallyroom_holds_open_credits", "Credits in open holds, about.", value=float(held))
    if last_check is not None:
        yield from _ledger_check(_LastCheckRow(*last_check))
    yield from cost_metrics.stored()
    yield from alert_metrics.stored()
    yield from rollup_metrics.stored()


def _ledger_check(last: _LastCheckRow) -> Iterator[Metric]:
    """Absent until there has been one: an alert on `absent()` tells a check that never ran from one that failed."""
    duration_s = (last.finished_at - last.started_at).total_seconds()
    for name, documentation, value in (
        ("ok", "1 where the last full check of the ledger found that every invariant holds, else 0.", float(last.ok)),
        ("violations", "What the last full check found broken.", last.violations),
        ("wallets", "Wallets that the last full check read.", last.wallets),
        ("entries", "Entries that the last full check read.", last.entries),
        ("timestamp_seconds", "When the last full check ended, as Unix time.", last.finished_at.timestamp()),
        ("duration_seconds", "How long the last full check took.", duration_s),
    ):
        yield GaugeMetricFamily(f"tallyroom_ledger_check_{name}", documentation, value=value)
    found = decoded(last.by_invariant)
    broken = GaugeMetricFamily(
        "tallyroom_ledger_check_findings", "What the last full check found broken, by invariant.", labels=["invariant"]
    )
    for invariant in dict.fromkeys((*INVARIANTS, *found)):
        broken.add_metric([invariant], found.get(invariant, 0))
    yield broken

"""The part of a scrape that the database answers. Where it does not, or not soon, the scrape says so and goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connection, transaction
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from billing import stored_metrics as of_billing
from pricing import stored_metrics as of_pricing
from sessions_app import stored_metrics as of_sessions

log = structlog.get_logger(__name__)
LIMIT_S = 3.0
_STATEMENT_LIMIT_MS = 2_000

# One thread, which nothing else uses: scrapes of a database that hangs must not take those of the turns.
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database-metrics")
_asking = Lock()
_asked: Future[list[Metric]] | None = None


class DatabaseCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        found = _answer()
        is_up = float(found is not None)
        yield GaugeMetricFamily("tallyroom_database_up", "1 where the database answered, else 0.", value=is_up)
        yield from found or ()

    def describe(self) -> Iterable[Metric]:
        return ()


def _answer() -> list[Metric] | None:
    try:
        return _ask().result(timeout=LIMIT_S)
    except (DatabaseError, InterfaceError, TimeoutError) as error:
        log.warning("database_metrics_missing", error=str(error) or type(error).__name__)
        return None


def _ask() -> Future[list[Metric]]:
    """The answer that is under way, where there is one: scrapes do not queue up behind a database that hangs."""
    global _asked  # noqa: PLW0603
    with _asking:
        if _asked is None or _asked.done():
            _asked = _thread.submit(_unit)
        return _asked


def _unit() -> list[Metric]:
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {_STATEMENT_LIMIT_MS}")
            return [*of_billing.stored(), *of_sessions.stored(), *of_pricing.stored()]
    finally:
        close_old_connections()

"""What is counted of alerts once it is committed, and what the outbox says at the time of a scrape."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from config.core.metrics import counter

ALERTS = counter("alerts_total", "Alerts, by what happened.", ("kind",))
WEBHOOKS = counter("webhook_deliveries_total", "Attempts to deliver to a webhook, by how they ended.", ("outcome",))
MAILS = counter("alert_mails_total", "Attempts to send a mail of an alert, by how they ended.", ("outcome",))

_DUE = """
SELECT (SELECT count(*) FROM alerts WHERE fanned_out_at IS NULL),
       (SELECT count(*) FROM alert_deliveries WHERE status = 'pending' AND next_attempt_at <= statement_timestamp())
"""


def alerted(*kinds: str) -> None:
    for kind in kinds:
        ALERTS.labels(kind).inc()


def stored() -> Iterator[Metric]:
    """Raises: DatabaseError, InterfaceError."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE)
        alerts, deliveries = cursor.fetchone()
    yield GaugeMetricFamily("tallyroom_alerts_waiting", "Alerts that nobody has been told of yet.", value=alerts)
    yield GaugeMetricFamily(
        "tallyroom_alert_deliveries_due", "Webhook messages and mails that should have been sent by now.",
        value=deliveries,
    )  # fmt: skip

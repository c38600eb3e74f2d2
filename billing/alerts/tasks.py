"""The beat's alert jobs. Safe to run twice at once on two machines."""

from __future__ import annotations

from celery import shared_task

from billing.alerts.delivering import deliver_due
from billing.alerts.expiring import find_expiring
from billing.alerts.fan_out import fan_out


@shared_task  # type: ignore[untyped-decorator]
def deliver_alerts() -> int:
    """Twice a minute, and whenever something happens."""
    fan_out()
    return deliver_due()


@shared_task  # type: ignore[untyped-decorator]
def alert_expiring() -> int:
    """Hourly: lots that end soon."""
    return find_expiring()

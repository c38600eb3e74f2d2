"""The worker's job around simulations. Safe to run twice at once on two machines."""

from __future__ import annotations

from celery import shared_task

from billing.simulating.runs import run_waiting


@shared_task  # type: ignore[untyped-decorator]
def run_simulations() -> int:
    """When one is asked for, and every minute, for one whose message was lost or whose worker died."""
    return run_waiting()

"""The beat's price job. Safe to run twice at once on two machines."""

from __future__ import annotations

from celery import shared_task

from pricing.lifecycle import activate_due


@shared_task  # type: ignore[untyped-decorator]
def activate_scheduled() -> str | None:
    """Bring into force what is due; its name."""
    activated = activate_due()
    return None if activated is None else activated.version

"""The beat's jobs around turns. Safe to run twice at once on two machines."""

from __future__ import annotations

import structlog
from celery import shared_task

from config.presence import worker_seen
from sessions_app.turns.recovery import recover_lost_turns

log = structlog.get_logger(__name__)


@shared_task  # type: ignore[untyped-decorator]
def settle_interrupted() -> int:
    """End the turns whose process died. Also the worker's sign of life, which `/health` shows."""
    worker_seen()
    recovered = recover_lost_turns()
    if recovered:
        log.warning("turns_recovered", turns=recovered)
    return recovered

"""The beat's jobs around turns. Safe to run twice at once on two machines."""

from __future__ import annotations

from uuid import UUID

import structlog
from celery import shared_task

from config.presence import worker_seen
from sessions_app.completions.recovery import recover_lost_completions
from sessions_app.turns.queueing import dispatch_waiting
from sessions_app.turns.recovery import recover_lost_turns

log = structlog.get_logger(__name__)


@shared_task  # type: ignore[untyped-decorator]
def settle_interrupted() -> int:
    """End the turns whose process died, and tell of the queued ones whose message was lost.

    Also the worker's sign of life, which `/health` shows.
    """
    worker_seen()
    dispatch_waiting()
    recovered = recover_lost_turns()
    if recovered:
        log.warning("turns_recovered", turns=recovered)
    recover_lost_completions()
    return recovered


@shared_task(acks_late=True)  # type: ignore[untyped-decorator]
def run_turn(turn_id: str) -> None:
    """Run a queued turn to its end. Delivered twice it runs once: the row is claimed first."""
    from sessions_app.turns.worker_loop import run_queued

    run_queued(UUID(turn_id))

"""The worker's jobs around files. Safe to run twice at once on two machines."""

from __future__ import annotations

import structlog
from celery import shared_task

from files import orphans, parse_queue
from files.parse_work import parse_due

log = structlog.get_logger(__name__)


@shared_task  # type: ignore[untyped-decorator]
def parse_uploads() -> int:
    """After each upload, and as often as the sweeper. Delivered twice it parses nothing twice: rows are claimed."""
    parse_queue.give_up()
    return parse_due()


@shared_task  # type: ignore[untyped-decorator]
def remove_orphans() -> int:
    """Nightly."""
    in_gone_rooms = orphans.remove_files_of_gone_rooms()
    removed = orphans.remove_orphans()
    if removed or in_gone_rooms:
        log.warning("orphans_removed", objects=removed, files_of_gone_rooms=in_gone_rooms)
    return removed

"""The sweeper of a worker: a thread of its own, because eight long turns would keep a sweep in the queue waiting."""

from __future__ import annotations

import threading
import time

import structlog
from django.conf import settings
from django.db import close_old_connections

from sessions_app.tasks import settle_interrupted

log = structlog.get_logger(__name__)


def start_sweeping() -> None:
    """Sweep now and every `SWEEP_INTERVAL_S`, until the process ends. Safe beside other sweepers."""
    threading.Thread(target=_sweep_for_ever, name="sweeper", daemon=True).start()


def _sweep_for_ever() -> None:
    while True:
        try:
            settle_interrupted()
        except Exception:  # noqa: BLE001 - whatever kept this sweep from its work, the next one is to be tried
            log.exception("sweep_failed")
        finally:
            close_old_connections()
        time.sleep(settings.SWEEP_INTERVAL_S)

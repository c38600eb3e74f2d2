"""How far rolling up has come, for a worker's log."""

from __future__ import annotations

from datetime import timedelta

import structlog

from billing.rollup.rolling import BATCH, rolled_up_to

log = structlog.get_logger(__name__)


def logged(done: timedelta) -> None:
    """A line for each batch while there is much to catch up; of a quarter or two nobody wants to read."""
    if done >= BATCH:
        log.info("usage_rolled_up", rolled_up_to=str(rolled_up_to()))

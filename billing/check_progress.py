"""How far a check has come: a bar at a terminal, else a line in the log every so many entries."""

from __future__ import annotations

import sys
from types import TracebackType

import structlog
from tqdm import tqdm

from billing.invariants import Extent

log = structlog.get_logger(__name__)
LOGGED_EVERY = 100_000


class LoggedProgress:
    """For a check that nobody watches. Counts entries, so that it moves within one large wallet too."""

    def __init__(self, total: Extent) -> None:
        self.total = total
        self.entries = self.wallets = 0

    def __call__(self, done: Extent) -> None:
        before = self.entries // LOGGED_EVERY
        self.entries += done.entries
        self.wallets += done.wallets
        if self.entries // LOGGED_EVERY > before:
            log.info(
                "ledger_check_progress",
                entries=self.entries,
                of_entries=self.total.entries,
                wallets=self.wallets,
                of_wallets=self.total.wallets,
            )


class ShownProgress:
    """For an operator's command: a bar at a terminal, and the log's lines without one."""

    def __init__(self, total: Extent) -> None:
        self._logged = LoggedProgress(total)
        self._bar = tqdm(
            total=total.entries, unit=" entries", unit_scale=True, desc="check_ledger", disable=not sys.stderr.isatty()
        )

    def __call__(self, done: Extent) -> None:
        if self._bar.disable:
            self._logged(done)
        else:
            self._bar.update(done.entries)

    def __enter__(self) -> ShownProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

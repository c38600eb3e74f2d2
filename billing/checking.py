"""A full check of the ledger, whoever asks for it, and the record of what it came to."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from billing.invariants import Finding, check_everything_else, check_wallets
from billing.models import LedgerCheck

log = structlog.get_logger(__name__)
# Three months of nights; nobody asks for older ones.
KEPT = 100


def check_everything(
    *, report: Callable[[Finding], None], progress: Callable[[int], Any] = lambda _: None
) -> LedgerCheck:
    """Every invariant of every wallet. `report` gets each finding as it is found.

    A check that does not come to its end is not recorded: it has found out nothing.
    """
    check = LedgerCheck(started_at=timezone.now(), wallets_checked=0, violations=0)

    def checked(wallets: int) -> None:
        check.wallets_checked += wallets
        progress(wallets)

    for finding in chain(check_everything_else(), check_wallets(progress=checked)):
        check.violations += 1
        report(finding)
    check.ok = check.violations == 0
    check.finished_at = timezone.now()
    _record(check)
    return check


def _record(check: LedgerCheck) -> None:
    try:
        with transaction.atomic():
            check.save(force_insert=True)
            newest = LedgerCheck.objects.order_by("-finished_at").values("id")[:KEPT]
            LedgerCheck.objects.exclude(id__in=newest).delete()
    except DatabaseError as error:
        # As on a replica that cannot be written to. Who asked still learns what was found.
        log.warning("ledger_check_not_recorded", error=str(error))

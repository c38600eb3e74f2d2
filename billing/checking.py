"""A check of the ledger, whoever asks for it, and the record of what it came to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from billing.anchors import verify_stored_anchors
from billing.checkpoints import save_checkpoints
from billing.invariants import Extent, Finding, check_everything_else, check_wallets
from billing.models import LedgerCheck

log = structlog.get_logger(__name__)
# Three months of nights; nobody asks for older ones.
KEPT = 100
Report = Callable[[Finding], None]
Progress = Callable[[Extent], Any]


def check_everything(
    *, report: Report, progress: Progress = lambda _: None, also: Iterable[Finding] = ()
) -> LedgerCheck:
    """Every invariant of every wallet from its first entry on, and the newest anchors; `also` what the caller adds.

    `report` gets each finding as it is found. A check that does not come to its end is not recorded: it has found out
    nothing.
    """
    check = _check(
        lambda progress: chain(
            check_everything_else(),
            check_wallets(progress=progress, found_good=save_checkpoints),
            verify_stored_anchors(),
            also,
        ),
        report=report,
        progress=progress,
    )
    _record(check)
    return check


def check_some(
    *,
    user_id: UUID | None = None,
    only_new: bool = False,
    report: Report,
    progress: Progress = lambda _: None,
    also: Iterable[Finding] = (),
) -> LedgerCheck:
    """One user's wallet, or what is new since each wallet's last good check.

    Neither speaks for the whole ledger, so it is not recorded as a check of it.
    """
    return _check(
        lambda progress: chain(
            check_everything_else(everywhere=False),
            check_wallets(user_id=user_id, only_new=only_new, progress=progress, found_good=save_checkpoints),
            also,
        ),
        report=report,
        progress=progress,
    )


def _check(find: Callable[[Progress], Iterable[Finding]], *, report: Report, progress: Progress) -> LedgerCheck:
    check = LedgerCheck(started_at=timezone.now(), wallets_checked=0, entries_checked=0, violations=0)

    def checked(extent: Extent) -> None:
        check.wallets_checked += extent.wallets
        check.entries_checked += extent.entries
        progress(extent)

    for finding in find(checked):
        check.violations += 1
        found = check.violations_by_invariant
        found[finding.invariant] = found.get(finding.invariant, 0) + 1
        report(finding)
    check.ok = check.violations == 0
    check.finished_at = timezone.now()
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

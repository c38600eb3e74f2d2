"""The beat's money jobs. Safe to run twice at once on two machines."""

from __future__ import annotations

import structlog
from celery import shared_task

from billing.checking import check_everything
from billing.expiry import expire_due
from billing.invariants import Finding

log = structlog.get_logger(__name__)


@shared_task  # type: ignore[untyped-decorator]
def expire_grants() -> None:
    wallets, entries = expire_due()
    if entries:
        log.info("grants_expired", wallets=wallets, entries=entries)


@shared_task  # type: ignore[untyped-decorator]
def check_ledger() -> int:
    """Nightly. Findings are logged as errors, one line each; the number is returned."""
    check = check_everything(report=_log_finding)
    log.info("ledger_checked", findings=check.violations, wallets=check.wallets_checked)
    return check.violations


def _log_finding(finding: Finding) -> None:
    log.error(
        "ledger_finding",
        invariant=finding.invariant,
        wallet_id=str(finding.wallet_id),
        user_id=str(finding.user_id),
        detail=finding.detail,
    )

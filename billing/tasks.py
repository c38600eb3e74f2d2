"""The beat's money jobs. Safe to run twice at once on two machines."""

from __future__ import annotations

import structlog
from celery import shared_task
from django.utils import timezone

from billing.anchors import make_anchor
from billing.check_progress import LoggedProgress
from billing.checking import check_everything
from billing.costs import compare_missed
from billing.expiry import expire_due
from billing.invariants import Finding, extent
from billing.models import CostFinding
from billing.rollup.checking import check as check_rolled_days
from billing.rollup.checking import rolled_days
from billing.rollup.progress import logged
from billing.rollup.rolling import roll_up

log = structlog.get_logger(__name__)


@shared_task  # type: ignore[untyped-decorator]
def expire_grants() -> None:
    done = expire_due()
    if done.entries:
        log.info("grants_expired", **done._asdict())


@shared_task  # type: ignore[untyped-decorator]
def check_ledger() -> int:
    """Nightly. Findings are logged as errors, one line each; the number is returned."""
    check = check_everything(report=_log_finding, progress=LoggedProgress(extent()))
    log.info(
        "ledger_checked",
        findings=check.violations,
        wallets=check.wallets_checked,
        entries=check.entries_checked,
    )
    return check.violations


@shared_task  # type: ignore[untyped-decorator]
def anchor_ledger() -> bool:
    """Anchor the latest midnight, once; False where that is to be tried again."""
    return make_anchor() is not None


@shared_task  # type: ignore[untyped-decorator]
def compare_costs() -> int:
    """Nightly, missed nights included. Findings are logged, one line each; the number is returned."""
    days = compare_missed()
    findings = list(CostFinding.objects.filter(day__in=days).order_by("day", "kind", "provider", "model_alias"))
    for finding in findings:
        log.warning(
            "cost_finding",
            day=str(finding.day),
            kind=finding.kind,
            provider=finding.provider,
            model_alias=finding.model_alias,
            detail=finding.detail,
        )
    log.info("costs_compared", days=len(days), findings=len(findings))
    return len(findings)


@shared_task  # type: ignore[untyped-decorator]
def roll_up_usage() -> int:
    """Roll up what is over; returns the number of batches."""
    return roll_up(timezone.now(), progress=logged)


@shared_task  # type: ignore[untyped-decorator]
def check_usage_rollup() -> int:
    """Nightly. A day that is not what its events come to is logged as an error; the number is returned."""
    differing = [(day, tables) for day, tables in check_rolled_days(rolled_days()) if tables]
    for day, tables in differing:
        log.error("usage_rollup_differs", day=str(day), tables=tables)
    return len(differing)


def _log_finding(finding: Finding) -> None:
    log.error(
        "ledger_finding",
        invariant=finding.invariant,
        wallet_id=str(finding.wallet_id),
        user_id=str(finding.user_id),
        detail=finding.detail,
    )

"""Simulations that are asked for, and those whose turn it is. The row is the queue; a message only says: look.

One at a time in the whole deployment: each reads a great many events, and turns run in the same workers.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from billing.models import PriceSimulation
from billing.simulating.services import last_days
from pricing.models import PricingVersion

WAITING, RUNNING = PriceSimulation.Status.WAITING, PriceSimulation.Status.RUNNING
DONE, FAILED = PriceSimulation.Status.DONE, PriceSimulation.Status.FAILED
KEPT = 100
# Longer than a day's events take, between two of which there is a sign of life.
SILENT_FOR = timedelta(minutes=15)
ATTEMPTS_MAX = 3


def ask(version: PricingVersion, *, days: int, asked_by: str) -> PriceSimulation:
    """Put a simulation into the queue, which of each revision and number of days has one at a time.

    Idempotent:  yes: while one waits or runs, that one is returned.
    """
    same = {"pricing_version": version.version, "pricing_revision": version.revision, "days": days}
    start, end = last_days(days)
    while True:
        try:
            with transaction.atomic():
                forget_old()
                return PriceSimulation.objects.create(**same, start=start, end=end, asked_by=asked_by)
        except IntegrityError:
            asked = PriceSimulation.objects.filter(**same, status__in=[WAITING, RUNNING]).first()
            # Or it has ended between the two statements.
            if asked is not None:
                return asked


def claim(this: PriceSimulation | None = None) -> PriceSimulation | None:
    """The one that waits longest, or whose worker has died, for the caller to work on; or `this` one, if it waits.

    None where there is nothing to do, or another one runs. Safe to call many at once.
    """
    now = timezone.now()
    silent = Q(status=RUNNING, seen_at__lt=now - SILENT_FOR)
    with transaction.atomic():
        due = PriceSimulation.objects.filter(Q(status=WAITING) | silent)
        # What has killed its worker so often is spared the next one.
        due.filter(attempts__gte=ATTEMPTS_MAX).update(status=FAILED, finished_at=now)
        if this is not None:
            due = due.filter(pk=this.pk)
        elif PriceSimulation.objects.filter(status=RUNNING, seen_at__gte=now - SILENT_FOR).exists():
            return None
        row = due.select_for_update(skip_locked=True).order_by("created_at").first()
        if row is None:
            return None
        row.status, row.attempts, row.calls_read = RUNNING, row.attempts + 1, 0
        row.started_at = row.seen_at = now
        row.save(update_fields=["status", "attempts", "calls_read", "started_at", "seen_at"])
        return row


def forget_old() -> None:
    newest = PriceSimulation.objects.order_by("-created_at").values("id")[:KEPT]
    PriceSimulation.objects.exclude(id__in=newest).exclude(status=RUNNING).delete()

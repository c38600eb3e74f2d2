"""What was found when the ledger was checked."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from config.core.ids import uuid7


class LedgerCheck(models.Model):
    """A full check of the ledger and what it came to. Only the newest ones are kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    wallets_checked = models.BigIntegerField()
    violations = models.BigIntegerField()
    ok = models.BooleanField()

    class Meta:
        db_table = "ledger_checks"
        constraints = [
            models.CheckConstraint(
                condition=Q(ok=True, violations=0) | Q(ok=False, violations__gt=0),
                name="ledger_check_ok_if_no_violation",
            )
        ]
        indexes = [models.Index(fields=["finished_at"], name="ledger_check_finished")]

    def __str__(self) -> str:
        return f"{self.violations} violations in {self.wallets_checked} wallets"

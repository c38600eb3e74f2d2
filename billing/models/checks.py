"""What was found when the ledger was checked, and what it is held against."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing import triggers
from billing.models.fields import credits_field
from config.core.ids import uuid7


class LedgerCheck(models.Model):
    """A full check of the ledger and what it came to. Only the newest ones are kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    wallets_checked = models.BigIntegerField()
    entries_checked = models.BigIntegerField(default=0, db_default=0)
    violations = models.BigIntegerField()
    # Of each invariant that did not hold: L1 to L11.
    violations_by_invariant = models.JSONField(default=dict, db_default={})
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


class LedgerCheckpoint(models.Model):
    """How a wallet was when it was last checked and found good: where `check_ledger --new` goes on.

    No foreign key: writing one would lock the wallet, and a wallet that is gone must not take its checkpoint along.
    """

    wallet_id = models.UUIDField(primary_key=True)
    seq = models.BigIntegerField()
    entry_hash = models.CharField(max_length=64)
    balance = credits_field()
    # The newest event's time, and the wallet's own: what tells that there is something new.
    events_until = models.DateTimeField(null=True)
    wallet_updated_at = models.DateTimeField()
    checked_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_checkpoints"

    def __str__(self) -> str:
        return f"wallet {self.wallet_id} up to entry {self.seq}"


class LedgerAnchor(models.Model):
    """One hash over the last entries of all wallets as they were at a time. Append-only.

    Kept elsewhere too, it tells of a forger who rewrote every hash in this database.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    as_of = models.DateTimeField(unique=True)
    wallets = models.BigIntegerField()
    entries = models.BigIntegerField()
    anchor_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_anchors"
        triggers = [triggers.append_only(), triggers.never_truncated()]

    def __str__(self) -> str:
        return f"{self.as_of:%Y-%m-%dT%H:%M:%SZ} {self.anchor_hash}"

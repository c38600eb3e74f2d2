"""The ledger itself: entries, and which lots paid them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from billing import triggers
from billing.models.fields import LARGEST, credits_field
from billing.models.wallets import CreditGrant, CreditWallet
from config.core.ids import uuid7


class CreditTransaction(models.Model):
    """A ledger entry. Append-only; hash-chained per wallet; a correction is a new entry."""

    class Kind(models.TextChoices):
        GRANT = "grant"
        DEBIT = "debit"
        REFUND = "refund"
        ADJUSTMENT = "adjustment"
        EXPIRY = "expiry"
        TOP_UP = "top_up"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    wallet = models.ForeignKey(CreditWallet, on_delete=models.PROTECT, related_name="+")
    user_id = models.UUIDField()
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    amount = credits_field()
    balance_after = credits_field()
    reference_type = models.CharField(max_length=32)
    reference_id = models.UUIDField(null=True)
    # What was called: a row of `llm_call_events` or of `tool_call_events`, as a trigger sees to.
    event_id = models.UUIDField(null=True, unique=True)
    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="+", null=True, db_index=False)
    idempotency_key = models.CharField(max_length=255, null=True)
    reason = models.TextField(default="", blank=True)
    initiated_by = models.CharField(max_length=64)
    entry_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "credit_transactions"
        constraints = [
            models.UniqueConstraint(fields=["wallet", "seq"], name="entry_seq_once_per_wallet"),
            models.CheckConstraint(condition=Q(seq__gte=1), name="entry_seq_from_one"),
            models.CheckConstraint(
                condition=Q(kind__in=["grant", "top_up", "refund"], amount__gt=0, amount__lte=LARGEST)
                | Q(kind__in=["debit", "expiry"], amount__lt=0)
                | Q(kind="adjustment", amount__lte=LARGEST) & ~Q(amount=0),
                name="entry_sign_fits_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind="debit", event_id__isnull=False) | ~Q(kind="debit") & Q(event_id__isnull=True),
                name="entry_debit_has_event",
            ),
        ]
        indexes = [
            models.Index(fields=["user_id", "created_at"], name="entry_user_created"),
            models.Index(fields=["reference_id"], condition=Q(reference_id__isnull=False), name="entry_reference"),
        ]
        triggers = [
            triggers.append_only(),
            triggers.never_truncated(),
            triggers.entry_continues_the_wallet(),
            triggers.debit_has_its_event(),
            triggers.refund_within_debit(),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount:f}"


class CreditAllocation(models.Model):
    """Which lot paid how much of which entry; negative where a refund gives back to the lot.

    A lot's `remaining` is its amount less its allocations. Append-only.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    entry = models.ForeignKey(CreditTransaction, on_delete=models.PROTECT, related_name="+", db_index=False)
    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="+")
    amount = credits_field()

    class Meta:
        db_table = "credit_allocations"
        constraints = [
            models.UniqueConstraint(fields=["entry", "grant"], name="allocation_once_per_entry_and_lot"),
            models.CheckConstraint(
                condition=Q(amount__range=(-LARGEST, LARGEST)) & ~Q(amount=0), name="allocation_moves_something"
            ),
        ]
        triggers = [triggers.append_only(), triggers.never_truncated()]

    def __str__(self) -> str:
        return f"{self.amount:f} of {self.grant_id}"

"""Credits reserved for work in progress."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from billing import triggers
from billing.models.fields import LARGEST, credits_field
from billing.models.wallets import CreditWallet
from config.core.ids import uuid7


class CreditHold(models.Model):
    """Credits reserved for one piece of work, before a provider is called. One per reference.

    Closed, it keeps the outcome: what was charged and the balance after it, so that a replayed request reads the
    numbers of its first answer.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        SETTLED = "settled"
        RELEASED = "released"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    wallet = models.ForeignKey(CreditWallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    reference_type = models.CharField(max_length=32)
    reference_id = models.UUIDField()
    amount = credits_field()
    # What it is made up of, `[[alias, agent id or null, amount], …]`, and where it is spent: what scoped lots and
    # spending limits go by.
    shares = models.JSONField(default=list, db_default=[])
    room_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.OPEN)
    charged = credits_field(null=True)
    balance_after = credits_field(null=True)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "credit_holds"
        constraints = [
            models.UniqueConstraint(fields=["reference_type", "reference_id"], name="hold_once_per_reference"),
            models.CheckConstraint(condition=Q(amount__range=(0, LARGEST)), name="hold_amount_not_negative"),
            models.CheckConstraint(
                condition=Q(status="open", closed_at__isnull=True, charged__isnull=True)
                | ~Q(status="open") & Q(closed_at__isnull=False, charged__isnull=False, balance_after__isnull=False),
                name="hold_closed_with_outcome",
            ),
        ]
        indexes = [
            models.Index(fields=["wallet"], condition=Q(status="open"), name="hold_open_by_wallet"),
            models.Index(fields=["expires_at"], condition=Q(status="open"), name="hold_open_by_expiry"),
        ]
        triggers = [triggers.holds_agree_with_wallet(), triggers.never_deleted()]

    def __str__(self) -> str:
        return f"{self.status} {self.amount:f} for {self.reference_type} {self.reference_id}"

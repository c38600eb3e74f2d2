"""Wallets and the lots in them."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing import triggers
from billing.models.fields import LARGEST, credits_field
from config.core.ids import uuid7


class CreditWallet(models.Model):
    """A user's credits. `balance` moves by ledger entries alone; `held` is what open holds reserve of it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField(unique=True)
    balance = credits_field(default=0)
    held = credits_field(default=0)
    last_seq = models.BigIntegerField(default=0)
    last_hash = models.CharField(max_length=64)
    next_expiry_at = models.DateTimeField(null=True)
    # What opening a turn has to look at besides balance and held; most wallets have neither.
    has_scoped_lots = models.BooleanField(default=False, db_default=False)
    has_limits = models.BooleanField(default=False, db_default=False)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "credit_wallets"
        constraints = [
            models.CheckConstraint(condition=Q(held__range=(0, LARGEST)), name="wallet_held_not_negative"),
            models.CheckConstraint(condition=Q(balance__range=(-LARGEST, LARGEST)), name="wallet_balance_finite"),
        ]
        indexes = [
            models.Index(fields=["next_expiry_at"], condition=Q(next_expiry_at__isnull=False), name="wallet_expiry")
        ]
        triggers = [triggers.wallet_agrees_with_ledger(), triggers.never_deleted()]

    def __str__(self) -> str:
        return f"wallet of {self.user_id}"


class CreditGrant(models.Model):
    """A lot of credits. Lots are burnt by priority (lower first), then the one that expires first, then the oldest."""

    class Kind(models.TextChoices):
        BETA = "beta"
        PURCHASE = "purchase"
        PROMO = "promo"
        REFUND = "refund"
        ADJUSTMENT = "adjustment"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    amount = credits_field()
    remaining = credits_field()
    priority = models.SmallIntegerField(default=50)
    expires_at = models.DateTimeField(null=True)
    campaign = models.CharField(max_length=64, default="", blank=True)
    # What the lot may pay for; empty: everything.
    aliases = ArrayField(models.CharField(max_length=64), default=list, db_default=[], blank=True)
    voided_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "credit_grants"
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0, amount__lte=LARGEST), name="grant_amount_positive"),
            models.CheckConstraint(
                condition=Q(remaining__gte=0, remaining__lte=models.F("amount")), name="grant_remaining_within_amount"
            ),
            models.CheckConstraint(condition=Q(priority__range=(0, 100)), name="grant_priority_range"),
            models.CheckConstraint(condition=Q(voided_at__isnull=True) | Q(remaining=0), name="grant_voided_is_empty"),
            models.UniqueConstraint(
                fields=["user_id", "campaign"],
                condition=Q(kind="beta") & ~Q(campaign=""),
                name="grant_once_per_campaign",
            ),
        ]
        indexes = [
            models.Index(fields=["user_id"], condition=Q(remaining__gt=0), name="grant_open_lots"),
            models.Index(fields=["user_id", "created_at"], name="grant_user_created"),
        ]
        triggers = [triggers.lots_agree_with_wallet(), triggers.never_deleted()]

    def __str__(self) -> str:
        return f"{self.kind} {self.remaining:f} of {self.amount:f}"

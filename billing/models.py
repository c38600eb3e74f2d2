"""The money tables.

Rows are written by `billing.ledger` alone; `billing.triggers` holds what the database itself refuses.

User, room, session and turn ids are plain UUIDs: no foreign key leads out of billing, because money rows outlive
everything else.
"""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing import triggers
from config.core.ids import uuid7

_LARGEST = Decimal("9999999999.99999999")


def _credits(**kwargs: object) -> models.DecimalField:  # type: ignore[type-arg]
    return models.DecimalField(max_digits=18, decimal_places=8, **kwargs)  # type: ignore[arg-type]


def _usd() -> models.DecimalField:  # type: ignore[type-arg]
    return models.DecimalField(max_digits=20, decimal_places=8, null=True)


class Enforcement(models.TextChoices):
    OFF = "off"
    WARN = "warn"
    HARD = "hard"


class EnforcementOverride(models.Model):
    """The enforcement that staff set at run time. At most one row; without it the environment decides."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    singleton = models.BooleanField(default=True, unique=True, editable=False)
    enforcement = models.CharField(max_length=8, choices=Enforcement.choices)
    updated_by = models.CharField(max_length=64)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "enforcement_override"
        constraints = [
            models.CheckConstraint(condition=Q(singleton=True), name="enforcement_override_single_row"),
            models.CheckConstraint(
                condition=Q(enforcement__in=Enforcement.values), name="enforcement_override_known_value"
            ),
        ]

    def __str__(self) -> str:
        return self.enforcement


class LLMCallEvent(models.Model):
    """One LLM call: what was used, at which price, and what that came to. Append-only."""

    class Purpose(models.TextChoices):
        AGENT = "agent"
        ROUTER = "router"
        SYNTHESIS = "synthesis"
        SUMMARY = "summary"
        DIRECT = "direct"

    class Status(models.TextChoices):
        SUCCESS = "success"
        PARTIAL = "partial"
        ERROR = "error"
        TIMEOUT = "timeout"
        RATE_LIMITED = "rate_limited"
        CANCELLED = "cancelled"

    class UsageSource(models.TextChoices):
        PROVIDER = "provider"
        PARTIAL = "partial"
        ESTIMATED = "estimated"
        NONE = "none"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    room_id = models.UUIDField(null=True)
    session_id = models.UUIDField(null=True)
    turn_id = models.UUIDField(null=True)
    step_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    provider = models.CharField(max_length=64)
    model_alias = models.CharField(max_length=64)
    provider_model = models.CharField(max_length=255)
    input_tokens_fresh = models.BigIntegerField()
    input_tokens_cached = models.BigIntegerField()
    input_tokens_cache_write = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    total_tokens = models.BigIntegerField()
    oe_tokens_computed = models.DecimalField(max_digits=20, decimal_places=4)
    multiplier = models.DecimalField(max_digits=12, decimal_places=4)
    credits_burned = models.DecimalField(max_digits=20, decimal_places=4)
    # The same product at the ledger's precision: what the call's debit must be, and 0 exactly when it has none.
    credits_charged = _credits()
    provider_cost_usd = _usd()
    usage_source = models.CharField(max_length=16, choices=UsageSource.choices)
    usage_flags = models.JSONField(default=list)
    raw_usage = models.JSONField(null=True)
    latency_ms = models.BigIntegerField()
    status = models.CharField(max_length=16, choices=Status.choices)
    pricing_version = models.CharField(max_length=64)
    pricing_revision = models.IntegerField()
    call_index = models.IntegerField()
    request_id = models.CharField(max_length=128)
    called_at = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "llm_call_events"
        verbose_name = "LLM call event"
        constraints = [
            models.UniqueConstraint(
                fields=["turn_id", "call_index"], condition=Q(turn_id__isnull=False), name="event_once_per_call"
            ),
            models.CheckConstraint(
                condition=Q(
                    purpose="direct",
                    room_id__isnull=True,
                    session_id__isnull=True,
                    turn_id__isnull=True,
                    step_id__isnull=True,
                    agent_id__isnull=True,
                )
                | Q(
                    ~Q(purpose="direct"),
                    room_id__isnull=False,
                    session_id__isnull=False,
                    turn_id__isnull=False,
                    step_id__isnull=False,
                    agent_id__isnull=False,
                ),
                name="event_direct_without_room",
            ),
            models.CheckConstraint(
                condition=Q(input_tokens_fresh__gte=0)
                & Q(input_tokens_cached__gte=0)
                & Q(input_tokens_cache_write__gte=0)
                & Q(output_tokens__gte=0)
                & Q(reasoning_tokens__range=(0, models.F("output_tokens")))
                & Q(
                    total_tokens=models.F("input_tokens_fresh")
                    + models.F("input_tokens_cached")
                    + models.F("input_tokens_cache_write")
                    + models.F("output_tokens")
                ),
                name="event_pools_exclusive",
            ),
            models.CheckConstraint(
                # A range, because PostgreSQL counts NaN as larger than every number.
                condition=Q(credits_charged__range=(0, _LARGEST))
                & Q(credits_burned__range=(0, Decimal("9999999999999999.9999")))
                & Q(multiplier__range=(0, Decimal("99999999.9999"))),
                name="event_never_negative",
            ),
        ]
        indexes = [
            models.Index(fields=["user_id", "created_at"], name="event_user_created"),
            models.Index(fields=["created_at"], name="event_created"),
        ]
        triggers = [triggers.append_only(), triggers.never_truncated(), triggers.event_has_its_debit()]

    def __str__(self) -> str:
        return f"{self.model_alias} {self.credits_charged}"


class CreditWallet(models.Model):
    """A user's credits. `balance` moves by ledger entries alone; `held` is what open holds reserve of it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField(unique=True)
    balance = _credits(default=0)
    held = _credits(default=0)
    last_seq = models.BigIntegerField(default=0)
    last_hash = models.CharField(max_length=64)
    next_expiry_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "credit_wallets"
        constraints = [
            models.CheckConstraint(condition=Q(held__range=(0, _LARGEST)), name="wallet_held_not_negative"),
            models.CheckConstraint(condition=Q(balance__range=(-_LARGEST, _LARGEST)), name="wallet_balance_finite"),
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
    amount = _credits()
    remaining = _credits()
    priority = models.SmallIntegerField(default=50)
    expires_at = models.DateTimeField(null=True)
    campaign = models.CharField(max_length=64, default="", blank=True)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "credit_grants"
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0, amount__lte=_LARGEST), name="grant_amount_positive"),
            models.CheckConstraint(
                condition=Q(remaining__gte=0, remaining__lte=models.F("amount")), name="grant_remaining_within_amount"
            ),
            models.CheckConstraint(condition=Q(priority__range=(0, 100)), name="grant_priority_range"),
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
        return f"{self.kind} {self.remaining} of {self.amount}"


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
    amount = _credits()
    balance_after = _credits()
    reference_type = models.CharField(max_length=32)
    reference_id = models.UUIDField(null=True)
    event = models.OneToOneField(LLMCallEvent, on_delete=models.PROTECT, related_name="+", null=True)
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
                condition=Q(kind__in=["grant", "top_up", "refund"], amount__gt=0, amount__lte=_LARGEST)
                | Q(kind__in=["debit", "expiry"], amount__lt=0)
                | Q(kind="adjustment", amount__lte=_LARGEST) & ~Q(amount=0),
                name="entry_sign_fits_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind="debit", event__isnull=False) | ~Q(kind="debit") & Q(event__isnull=True),
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
            triggers.refund_within_debit(),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


class CreditAllocation(models.Model):
    """Which lot paid how much of which entry. A lot's `remaining` is its amount less its allocations. Append-only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    entry = models.ForeignKey(CreditTransaction, on_delete=models.PROTECT, related_name="+", db_index=False)
    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="+")
    amount = _credits()

    class Meta:
        db_table = "credit_allocations"
        constraints = [
            models.UniqueConstraint(fields=["entry", "grant"], name="allocation_once_per_entry_and_lot"),
            models.CheckConstraint(condition=Q(amount__gt=0, amount__lte=_LARGEST), name="allocation_positive"),
        ]
        triggers = [triggers.append_only(), triggers.never_truncated()]

    def __str__(self) -> str:
        return f"{self.amount} of {self.grant_id}"


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
    amount = _credits()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.OPEN)
    charged = _credits(null=True)
    balance_after = _credits(null=True)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "credit_holds"
        constraints = [
            models.UniqueConstraint(fields=["reference_type", "reference_id"], name="hold_once_per_reference"),
            models.CheckConstraint(condition=Q(amount__range=(0, _LARGEST)), name="hold_amount_not_negative"),
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
        return f"{self.status} {self.amount} for {self.reference_type} {self.reference_id}"


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

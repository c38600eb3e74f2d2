"""What was called, used and charged."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import Q

from billing import triggers
from billing.models.fields import LARGEST, credits_field, usd_field
from config.core.ids import uuid7
from pricing.rating import LARGEST_CHARGE


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
    # The key that the caller showed, where it was one of ours.
    api_key_id = models.UUIDField(null=True)
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
    credits_charged = credits_field()
    provider_cost_usd = usd_field()
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
                condition=Q(credits_charged__range=(0, LARGEST))
                & Q(credits_burned__range=(0, Decimal("9999999999999999.9999")))
                & Q(multiplier__range=(0, Decimal("99999999.9999"))),
                name="event_never_negative",
            ),
        ]
        indexes = [
            models.Index(fields=["user_id", "created_at"], name="event_user_created"),
            models.Index(fields=["created_at"], name="event_created"),
        ]
        triggers = [
            triggers.append_only(),
            triggers.never_truncated(),
            triggers.event_has_its_debit(other="tool_call_events"),
        ]

    def __str__(self) -> str:
        return f"{self.model_alias} {self.credits_charged:f}"


class ToolCallEvent(models.Model):
    """One call of a tool that a model asked for: how it ended, and what it cost. Append-only, but for its words.

    What the tool gave is in the journal of its turn, and its arguments are here as a hash alone.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    room_id = models.UUIDField()
    session_id = models.UUIDField()
    turn_id = models.UUIDField()
    step_id = models.UUIDField()
    agent_id = models.UUIDField()
    api_key_id = models.UUIDField(null=True)
    agent_key = models.CharField(max_length=32)
    # Counts those of the turn from 1.
    call_index = models.IntegerField()
    # As the model wrote it: a tool that does not exist has a row, too.
    tool_name = models.CharField(max_length=64)
    arguments_hash = models.CharField(max_length=64)
    status = models.CharField(max_length=16)
    error_code = models.CharField(max_length=64, default="", blank=True)
    latency_ms = models.IntegerField()
    result_bytes = models.IntegerField()
    # The price of its tool if it ran and succeeded, else 0; at 4 places for showing, at 8 what its debit must be.
    credits_burned = models.DecimalField(max_digits=20, decimal_places=4)
    credits_charged = credits_field(default=0, db_default=0)
    pricing_version = models.CharField(max_length=64)
    pricing_revision = models.IntegerField()
    called_at = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "tool_call_events"
        constraints = [
            models.UniqueConstraint(fields=["turn_id", "call_index"], name="tool_call_once_per_turn"),
            models.CheckConstraint(
                condition=Q(credits_charged__range=(0, LARGEST_CHARGE)) & Q(credits_burned__range=(0, LARGEST_CHARGE)),
                name="tool_call_never_negative",
            ),
        ]
        indexes = [
            models.Index(fields=["user_id", "created_at"], name="tool_calls_by_user"),
            models.Index(fields=["created_at"], condition=Q(credits_charged__gt=0), name="tool_calls_charged"),
            # What a price version would have charged for tools that were free.
            models.Index(fields=["created_at"], condition=Q(status="success"), name="tool_calls_succeeded"),
        ]
        triggers = [
            triggers.append_only_but_for_words(),
            triggers.never_truncated(),
            triggers.event_has_its_debit(other="llm_call_events"),
        ]

    def __str__(self) -> str:
        return f"{self.tool_name} {self.credits_charged:f}"


class ChargedEvent(models.Model):
    """A view: every LLM call, and every tool call that cost something, as usage counts them.

    A tool call has no alias and no tokens; its purpose is `tool`.
    """

    id = models.UUIDField(primary_key=True)
    user_id = models.UUIDField()
    room_id = models.UUIDField(null=True)
    session_id = models.UUIDField(null=True)
    turn_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    purpose = models.CharField(max_length=16)
    model_alias = models.CharField(max_length=64)
    input_tokens_fresh = models.BigIntegerField()
    input_tokens_cached = models.BigIntegerField()
    input_tokens_cache_write = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    oe_tokens_computed = models.DecimalField(max_digits=20, decimal_places=4)
    credits_burned = models.DecimalField(max_digits=20, decimal_places=4)
    credits_charged = credits_field()
    created_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "charged_events"
        # Nothing to look at in the admin: its rows are there already.
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.purpose} {self.credits_charged:f}"

"""What the calls of each closed day took in credits and cost at their providers, and what is odd about it."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.core.ids import uuid7


def _sum_field() -> models.DecimalField:  # type: ignore[type-arg]
    """A day's sum over all users: wider than any one wallet's column, at the same 8 places."""
    return models.DecimalField(max_digits=28, decimal_places=8)


class CostDay(models.Model):
    """One alias at one provider on one UTC day. Written once the day is closed; a day without calls has no row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    day = models.DateField()
    provider = models.CharField(max_length=64)
    model_alias = models.CharField(max_length=64)
    calls = models.BigIntegerField()
    credits_charged = _sum_field()
    # Of the calls whose cost is known: what is compared with it, lest calls of unknown cost pay for the others.
    credits_with_cost = _sum_field()
    provider_cost_usd = _sum_field()
    calls_without_cost = models.BigIntegerField()
    calls_lost = models.BigIntegerField()
    charges_above_hold = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "cost_days"
        verbose_name = "day's cost"
        verbose_name_plural = "days' costs"
        constraints = [
            models.UniqueConstraint(
                fields=["day", "provider", "model_alias"], name="cost_day_once_per_provider_and_alias"
            ),
            models.CheckConstraint(
                condition=Q(calls__gt=0)
                & Q(calls_without_cost__range=(0, F("calls")))
                & Q(calls_lost__range=(0, F("calls")))
                & Q(charges_above_hold__range=(0, F("calls"))),
                name="cost_day_counts_within_calls",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.provider} {self.model_alias}"


class CostFinding(models.Model):
    """Something odd about an alias's day. docs/runbook.md says what each kind means and what to do."""

    class Kind(models.TextChoices):
        COST_UNKNOWN = "cost_unknown"
        COST_WITHOUT_CREDITS = "cost_without_credits"
        BELOW_COST = "below_cost"
        DRIFT = "drift"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    day = models.DateField()
    kind = models.CharField(max_length=32, choices=Kind.choices)
    provider = models.CharField(max_length=64)
    model_alias = models.CharField(max_length=64)
    detail = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "cost_findings"
        constraints = [
            models.UniqueConstraint(
                fields=["day", "kind", "provider", "model_alias"], name="cost_finding_once_per_day_and_alias"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["cost_unknown", "cost_without_credits", "below_cost", "drift"]),
                name="cost_finding_known_kind",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.kind} {self.provider} {self.model_alias}"

"""Sums of closed quarters of an hour, made of events and standing for them in reports. No wallet depends on them.

`usage_rollup_state.rolled_up_to` says up to where they do; docs/reports.md says how that is kept true.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q


def _sum_field(places: int) -> models.DecimalField:  # type: ignore[type-arg]
    """A sum over many users: wider than any one wallet's column."""
    return models.DecimalField(max_digits=28, decimal_places=places)


class UsageSums(models.Model):
    """What is added up of calls. `billing.rollup.charges` says how each is made of events."""

    id = models.BigAutoField(primary_key=True)
    calls = models.BigIntegerField()
    calls_estimated = models.BigIntegerField()
    calls_without_cost = models.BigIntegerField()
    input_tokens_fresh = models.BigIntegerField()
    input_tokens_cached = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    oe_tokens = _sum_field(4)
    credits_burned = _sum_field(4)
    credits_charged = _sum_field(8)
    credits_estimated = _sum_field(8)
    credits_with_cost = _sum_field(8)
    provider_cost_usd = _sum_field(8)

    class Meta:
        abstract = True


class UsageRollup(UsageSums):
    """A quarter of an hour (UTC) of one user, room, agent, alias and purpose. Direct calls have no room, no agent."""

    start = models.DateTimeField()
    user_id = models.UUIDField()
    room_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    model_alias = models.CharField(max_length=64)
    purpose = models.CharField(max_length=16)

    class Meta:
        db_table = "usage_rollups"
        indexes = [
            models.Index(fields=["start"], name="usage_rollup_start"),
            models.Index(fields=["user_id", "start"], name="usage_rollup_user"),
            # Who called an alias.
            models.Index(fields=["model_alias", "start"], include=["user_id"], name="usage_rollup_alias"),
        ]

    def __str__(self) -> str:
        return f"{self.start} {self.user_id} {self.model_alias}"


class UsageTotal(UsageSums):
    """A quarter of an hour of one alias and purpose, over all users."""

    start = models.DateTimeField()
    model_alias = models.CharField(max_length=64)
    purpose = models.CharField(max_length=16)
    # Calls whose 8-place product is above 0 and that have no debit: L3 says that there are none.
    calls_without_debit = models.BigIntegerField()

    class Meta:
        db_table = "usage_rollup_totals"
        # What the admin's index calls the page of reports.
        verbose_name = "cost report"
        verbose_name_plural = "costs and usage"
        constraints = [
            models.UniqueConstraint(
                fields=["start", "model_alias", "purpose"], name="usage_total_once_per_quarter_alias_and_purpose"
            )
        ]

    def __str__(self) -> str:
        return f"{self.start} {self.model_alias} {self.purpose}"


class UsageMonth(UsageSums):
    """A month (UTC) of one user, room or agent, by alias, and, under the alias "*", of all together.

    The newest one ends at `months_up_to` of the state.
    """

    class Subject(models.TextChoices):
        USER = "user"
        ROOM = "room"
        AGENT = "agent"

    start = models.DateTimeField()
    subject = models.CharField(max_length=8, choices=Subject.choices)
    subject_id = models.UUIDField()
    # Whose room or agent it is.
    user_id = models.UUIDField()
    model_alias = models.CharField(max_length=64, blank=True)

    class Meta:
        db_table = "usage_rollup_months"
        indexes = [
            # Who was charged most in a month, and what one of them was charged in others.
            models.Index(
                fields=["start", "subject", "model_alias", "credits_charged"],
                include=["subject_id", "user_id", "calls"],
                name="usage_month_charged_most",
            ),
            models.Index(
                fields=["subject_id", "start", "model_alias"],
                include=["subject", "calls", "credits_charged"],
                name="usage_month_of_subject",
            ),
            models.Index(fields=["user_id", "start"], name="usage_month_user"),
        ]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m} {self.subject} {self.subject_id}"


class UsageActivity(models.Model):
    """A quarter of an hour in which a user made a call, and the one before it in which that user did.

    So a user is counted once in any span of time: by the one row whose `seen_before` lies before the span.
    """

    id = models.BigAutoField(primary_key=True)
    start = models.DateTimeField()
    user_id = models.UUIDField()
    seen_before = models.DateTimeField(null=True)

    class Meta:
        db_table = "usage_rollup_activity"
        constraints = [
            models.UniqueConstraint(fields=["user_id", "start"], name="usage_activity_once_per_quarter"),
            models.CheckConstraint(condition=Q(seen_before__lt=F("start")), name="usage_activity_seen_before_start"),
        ]
        indexes = [models.Index(fields=["start"], include=["seen_before"], name="usage_activity_start")]

    def __str__(self) -> str:
        return f"{self.start} {self.user_id}"


class UsageRollupState(models.Model):
    """One row: up to where usage is rolled up, and what the last comparison with the events came to."""

    singleton = models.BooleanField(primary_key=True, default=True, editable=False)
    rolled_up_to = models.DateTimeField(null=True)
    # A month's sums are made anew once a day: of the newest month they reach up to here.
    months_up_to = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    days_checked = models.IntegerField(default=0, db_default=0)
    days_differing = models.IntegerField(default=0, db_default=0)

    class Meta:
        db_table = "usage_rollup_state"
        constraints = [models.CheckConstraint(condition=Q(singleton=True), name="usage_rollup_state_single_row")]

    def __str__(self) -> str:
        return f"rolled up to {self.rolled_up_to}"

"""Whether an empty wallet stops a turn, as staff set it, and what `hard` would have stopped."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.fields import credits_field
from config.core.ids import uuid7


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


class UserEnforcement(models.Model):
    """The enforcement that staff set for one user; it goes before the deployment's."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField(unique=True)
    enforcement = models.CharField(max_length=8, choices=Enforcement.choices)
    updated_by = models.CharField(max_length=64)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "user_enforcement"
        verbose_name = "enforcement for one user"
        verbose_name_plural = "enforcement for single users"
        constraints = [
            models.CheckConstraint(condition=Q(enforcement__in=Enforcement.values), name="user_enforcement_known_value")
        ]

    def __str__(self) -> str:
        return f"{self.enforcement} for {self.user_id}"


class ShadowRefusal(models.Model):
    """A piece of work that ran under `warn` and that `hard` would have refused, with the numbers of that moment.

    One a piece of work: the first call that would not have been made.
    """

    class Stage(models.TextChoices):
        OPENING = "opening", "would not have begun"
        BETWEEN_CALLS = "between_calls", "would have ended early"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    reference_type = models.CharField(max_length=32)
    reference_id = models.UUIDField()
    stage = models.CharField(max_length=16, choices=Stage.choices)
    model_alias = models.CharField(max_length=64)
    balance = credits_field()
    held = credits_field()
    available = credits_field()
    required = credits_field()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "shadow_refusals"
        constraints = [
            models.UniqueConstraint(fields=["reference_type", "reference_id"], name="shadow_refusal_once_per_reference")
        ]
        indexes = [
            models.Index(fields=["created_at"], name="shadow_refusal_created"),
            models.Index(fields=["user_id", "created_at"], name="shadow_refusal_user"),
        ]

    def __str__(self) -> str:
        return f"{self.reference_type} {self.reference_id}: {self.required:f} of {self.available:f}"

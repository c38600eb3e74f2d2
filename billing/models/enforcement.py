"""Whether an empty wallet stops a turn, as staff set it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

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

"""Caps on what is spent, by people and by staff."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.fields import LARGEST, credits_field
from config.core.ids import uuid7


class SpendingLimit(models.Model):
    """The most that a room, an agent, an API key or a whole user may be charged per day or month.

    `spent` is what was charged since `period_start`, kept by the settling transaction under the wallet's lock; a row
    whose period has passed counts as 0. Days and months are those of `tz`.
    """

    class Subject(models.TextChoices):
        USER = "user"
        ROOM = "room"
        AGENT = "agent"
        API_KEY = "api_key", "API key"

    class Period(models.TextChoices):
        DAY = "day"
        MONTH = "month"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    subject = models.CharField(max_length=8, choices=Subject.choices)
    # The room, agent or key; for a whole user the user.
    subject_id = models.UUIDField()
    period = models.CharField(max_length=8, choices=Period.choices)
    amount = credits_field()
    tz = models.CharField("time zone", max_length=64, default="UTC")
    # What staff set, its user sees and cannot change.
    is_staff_set = models.BooleanField(default=False)
    set_by = models.CharField(max_length=64)
    spent = credits_field(default=0)
    period_start = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "spending_limits"
        constraints = [
            models.UniqueConstraint(
                fields=["user_id", "subject", "subject_id", "period", "is_staff_set"], name="limit_once_per_subject"
            ),
            models.CheckConstraint(condition=Q(amount__range=(0, LARGEST)), name="limit_amount_not_negative"),
            models.CheckConstraint(condition=Q(spent__range=(0, LARGEST)), name="limit_spent_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.amount:f} a {self.period} for {self.subject} {self.subject_id}"

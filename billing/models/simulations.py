"""Price versions tried on what really happened."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.core.ids import uuid7


class PriceSimulation(models.Model):
    """One simulation: what was asked, how far it is, and what it came to. Only the newest ones are kept.

    `result` is as `billing.simulating.recording` writes it: credits as text, users as ids.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pricing_version = models.CharField(max_length=64)
    pricing_revision = models.IntegerField()
    days = models.IntegerField()
    start = models.DateTimeField()
    end = models.DateTimeField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.WAITING)
    # Who has it counts from here: a worker that was thought dead and comes back finds another number.
    attempts = models.IntegerField(default=0)
    calls = models.BigIntegerField(null=True, help_text="How many there are to read.")
    calls_read = models.BigIntegerField(default=0)
    result = models.JSONField(null=True)
    asked_by = models.TextField(help_text="Who: a user's id, or what the program was doing.")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True, help_text="The last sign of life of who works on it.")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "price_simulations"
        constraints = [
            models.UniqueConstraint(
                fields=["pricing_version", "pricing_revision", "days"],
                condition=Q(status__in=["waiting", "running"]),
                name="price_simulation_asked_once",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["waiting", "running", "done", "failed"]), name="price_simulation_known_status"
            ),
            models.CheckConstraint(
                condition=Q(status="done", result__isnull=False, finished_at__isnull=False)
                | (~Q(status="done") & Q(result__isnull=True)),
                name="price_simulation_done_has_result",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pricing_version} revision {self.pricing_revision}, {self.days} days"

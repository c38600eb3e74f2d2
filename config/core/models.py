from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from config.core.ids import uuid7


class IdempotencyKey(models.Model):
    """A caller's key and what its first request made. Written in the transaction that makes it, or not at all."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    caller_id = models.UUIDField()
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    resource_type = models.CharField(max_length=32)
    resource_id = models.UUIDField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency_keys"
        constraints = [models.UniqueConstraint(fields=["caller_id", "key"], name="idempotency_key_once_per_caller")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_key_created")]

    def __str__(self) -> str:
        return f"{self.key} → {self.resource_type} {self.resource_id}"

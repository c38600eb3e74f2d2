"""What users are told of their credits, and to whom each message goes."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.fields import credits_field
from billing.models.wallets import CreditGrant
from config.core.ids import uuid7

URL_MAX_LENGTH = 2048


class Alert(models.Model):
    """Something that happened to a wallet. Written in the transaction that did it, told of afterwards.

    `seq` is the ledger entry that crossed the line. `fanned_out_at` is set once it is known who is told.
    """

    class Kind(models.TextChoices):
        LOW_BALANCE = "low_balance"
        BALANCE_EMPTY = "balance_empty"
        CREDITS_EXPIRING = "credits_expiring"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    kind = models.CharField(max_length=32, choices=Kind.choices)
    seq = models.BigIntegerField(null=True)
    balance = credits_field()
    threshold = credits_field(null=True)
    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="+", null=True, db_index=False)
    expires_at = models.DateTimeField(null=True)
    remaining = credits_field(null=True)
    created_at = models.DateTimeField()
    fanned_out_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alerts"
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    kind="credits_expiring", grant__isnull=False, expires_at__isnull=False, remaining__isnull=False
                )
                | Q(kind__in=["low_balance", "balance_empty"], seq__isnull=False, grant__isnull=True),
                name="alert_fits_kind",
            ),  # fmt: skip
            models.UniqueConstraint(fields=["grant"], condition=Q(grant__isnull=False), name="alert_once_per_lot"),
            models.UniqueConstraint(
                fields=["user_id", "seq", "kind"], condition=Q(seq__isnull=False), name="alert_once_per_crossing"
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], condition=Q(fanned_out_at__isnull=True), name="alert_not_fanned_out"),
            models.Index(fields=["user_id", "id"], name="alert_user_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.user_id}"


class WebhookEndpoint(models.Model):
    """A URL that is told of alerts: of one user's, or, without a user, of everybody's.

    `busy_until` is the lease of whoever sends to it: one message at a time, so that one that hangs holds up itself.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField(null=True, editable=False)
    url = models.CharField(max_length=URL_MAX_LENGTH)
    # What it is told of; empty: everything, whatever will be added.
    kinds = ArrayField(models.CharField(max_length=32, choices=Alert.Kind.choices), default=list, blank=True)
    secret_sealed = models.TextField(editable=False)
    secret_prefix = models.CharField(max_length=16, editable=False, help_text="The beginning, to tell it by.")
    busy_until = models.DateTimeField(null=True, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    disabled_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "webhook_endpoints"
        indexes = [models.Index(fields=["user_id"], name="webhook_endpoint_user")]

    def __str__(self) -> str:
        return f"webhook {self.id}"


class AlertDelivery(models.Model):
    """One message on its way to one receiver. Its id is what the receiver knows it by, at every attempt.

    Without an alert it is a ping, without an endpoint a mail. While it is `pending`, `next_attempt_at` is when it is
    due; an attempt under way has moved that to the end of its lease. `attempts` fences: who has lost his lease records
    nothing.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"
        DROPPED = "dropped"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, related_name="+", null=True, db_index=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="+", null=True, db_index=False)
    user_id = models.UUIDField(null=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    attempts = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=64, default="", blank=True)
    http_status = models.IntegerField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alert_deliveries"
        verbose_name_plural = "alert deliveries"
        constraints = [
            models.CheckConstraint(
                condition=Q(alert__isnull=False) | Q(endpoint__isnull=False), name="delivery_of_something"
            ),
            models.CheckConstraint(
                condition=Q(status="delivered", delivered_at__isnull=False)
                | ~Q(status="delivered") & Q(delivered_at__isnull=True),
                name="delivery_delivered_at_a_time",
            ),
            models.UniqueConstraint(
                fields=["alert", "endpoint"],
                condition=Q(alert__isnull=False, endpoint__isnull=False),
                name="delivery_once_per_endpoint",
            ),
            models.UniqueConstraint(
                fields=["alert"], condition=Q(endpoint__isnull=True), name="delivery_one_mail_per_alert"
            ),
            models.UniqueConstraint(
                fields=["endpoint"], condition=Q(alert__isnull=True, status="pending"), name="delivery_one_ping_at_once"
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(status="pending"), name="delivery_due"),
            models.Index(fields=["endpoint", "id"], name="delivery_endpoint"),
            models.Index(fields=["user_id"], condition=Q(endpoint__isnull=True), name="delivery_mail_user"),
        ]

    def __str__(self) -> str:
        return f"{self.status} after {self.attempts}"


class AlertPreference(models.Model):
    """What a user has said about alerts. No row: the defaults."""

    user_id = models.UUIDField(primary_key=True)
    email = models.BooleanField(default=True)

    class Meta:
        db_table = "alert_preferences"

    def __str__(self) -> str:
        return f"mails {'on' if self.email else 'off'}"

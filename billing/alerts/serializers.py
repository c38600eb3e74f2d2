"""The alerts' input and output."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from billing.alerts.messages import PING
from billing.models import Alert, AlertDelivery, WebhookEndpoint
from billing.models.alerts import URL_MAX_LENGTH
from config.core.fields import ClosedSerializer, TextField

KINDS = Alert.Kind.choices


class WebhookIn(ClosedSerializer):
    url = TextField(max_length=URL_MAX_LENGTH)
    kinds = serializers.ListField(
        child=serializers.ChoiceField(choices=KINDS), required=False, allow_empty=False, max_length=len(KINDS)
    )


class WebhookOut(serializers.ModelSerializer[WebhookEndpoint]):
    """`secret_prefix`: the beginning of the secret. `failing_since`: null once a message has arrived."""

    kinds = serializers.SerializerMethodField()

    class Meta:
        model = WebhookEndpoint
        fields = ["id", "url", "kinds", "secret_prefix", "failing_since", "disabled_at", "created_at"]

    def get_kinds(self, endpoint: WebhookEndpoint) -> list[str]:
        return endpoint.kinds or list(Alert.Kind.values)


class NewWebhookOut(WebhookOut):
    """`secret` is shown this once."""

    secret = serializers.CharField()

    class Meta:
        model = WebhookEndpoint
        fields = ["id", "url", "kinds", "secret", "secret_prefix", "failing_since", "disabled_at", "created_at"]


class DeliveryOut(serializers.ModelSerializer[AlertDelivery]):
    """`id` is the message's `webhook-id`. `next_attempt_at`: null when there will be none."""

    kind = serializers.SerializerMethodField()
    alert_id = serializers.UUIDField(allow_null=True)
    next_attempt_at = serializers.SerializerMethodField()

    class Meta:
        model = AlertDelivery
        fields = [
            "id", "kind", "alert_id", "status", "attempts", "http_status", "last_error", "next_attempt_at",
            "created_at", "delivered_at",
        ]  # fmt: skip

    def get_kind(self, delivery: AlertDelivery) -> str:
        return PING if delivery.alert is None else delivery.alert.kind

    def get_next_attempt_at(self, delivery: AlertDelivery) -> str | None:
        field: Any = serializers.DateTimeField()
        shown: str = field.to_representation(delivery.next_attempt_at)
        return shown if delivery.status == AlertDelivery.Status.PENDING else None


class AlertSettings(ClosedSerializer):
    """`email`: whether alerts come by mail, too."""

    email = serializers.BooleanField()

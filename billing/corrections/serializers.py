"""What staff say when they give or correct credits."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from config.core.fields import ClosedSerializer, CreditsField, TextField
from config.core.money import ZERO
from pricing import cache as price_cache

REASON_MAX = 500
ALIASES_MAX = 50


class GrantIn(ClosedSerializer):
    """`aliases`: what these credits may pay for; empty for everything."""

    amount = CreditsField(positive=True)
    reason = TextField(max_length=REASON_MAX)
    kind = serializers.ChoiceField(choices=["beta", "purchase", "promo", "refund"], default="promo")
    priority = serializers.IntegerField(min_value=0, max_value=100, default=50)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    campaign = TextField(max_length=64, required=False, allow_blank=True, default="")
    aliases = serializers.ListField(
        child=TextField(max_length=64), required=False, default=list, max_length=ALIASES_MAX
    )

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("Must lie in the future.")
        return value

    def validate_aliases(self, value: list[str]) -> list[str]:
        unknown = [alias for alias in value if price_cache.latest().find(alias) is None]
        if unknown:
            raise serializers.ValidationError(f"No price in force: {', '.join(unknown)}.", code="unknown_model_alias")
        return list(dict.fromkeys(value))


class AdjustIn(ClosedSerializer):
    amount = CreditsField()
    reason = TextField(max_length=REASON_MAX)

    def validate_amount(self, value: Decimal) -> Decimal:
        if value == ZERO:
            raise serializers.ValidationError("An adjustment moves something.")
        return value


class RefundIn(ClosedSerializer):
    """One of `turn_id` and `transaction_id`; without `amount` all that is left to refund."""

    turn_id = serializers.UUIDField(required=False)
    transaction_id = serializers.UUIDField(required=False)
    amount = CreditsField(positive=True, required=False)
    reason = TextField(max_length=REASON_MAX)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("turn_id" in attrs) == ("transaction_id" in attrs):
            raise serializers.ValidationError({"turn_id": "Name a turn or a transaction, one of them."})
        return attrs


class VoidIn(ClosedSerializer):
    reason = TextField(max_length=REASON_MAX)

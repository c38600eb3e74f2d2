from __future__ import annotations

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from billing.models import SpendingLimit
from billing.serializers import is_zone
from config.core.fields import ClosedSerializer, CreditsField, CreditsOut, TextField
from config.core.money import ZERO

OWNER_SUBJECTS = [choice for choice in SpendingLimit.Subject.choices if choice[0] != SpendingLimit.Subject.USER]


class _AmountIn(ClosedSerializer):
    amount = CreditsField()

    def validate_amount(self, value: Decimal) -> Decimal:
        if value < ZERO:
            raise serializers.ValidationError("Must not be below 0.", code="negative")
        return value


class LimitChangeIn(_AmountIn):
    """Another amount. For another subject, period or time zone make another limit."""


class LimitIn(_AmountIn):
    """Days and months are those of `tz`. An amount of 0 lets nothing through."""

    subject = serializers.ChoiceField(choices=OWNER_SUBJECTS)
    subject_id = serializers.UUIDField()
    period = serializers.ChoiceField(choices=SpendingLimit.Period.choices)
    tz = TextField(max_length=64, required=False, default="UTC")

    def validate_tz(self, value: str) -> str:
        if not is_zone(value):
            raise serializers.ValidationError("An IANA time zone, such as Europe/Berlin.")
        return value


class StaffLimitIn(LimitIn):
    """For a whole user `subject_id` is left out."""

    subject = serializers.ChoiceField(choices=SpendingLimit.Subject.choices, default="user")
    subject_id = serializers.UUIDField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["subject"] != SpendingLimit.Subject.USER and "subject_id" not in attrs:
            raise serializers.ValidationError({"subject_id": "Which one?"})
        return attrs


class LimitOut(serializers.Serializer[Any]):
    """`spent` since the period began, `held` by what is running; at `resets_at` it begins anew."""

    id = serializers.UUIDField(source="row.id")
    subject = serializers.ChoiceField(choices=SpendingLimit.Subject.choices, source="row.subject")
    subject_id = serializers.UUIDField(source="row.subject_id")
    period = serializers.ChoiceField(choices=SpendingLimit.Period.choices, source="row.period")
    tz = serializers.CharField(source="row.tz")
    amount = CreditsOut(source="row.amount")
    spent = CreditsOut()
    held = CreditsOut()
    resets_at = serializers.DateTimeField()
    set_by = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField(source="row.created_at")

    def get_set_by(self, status: Any) -> str:
        return "staff" if status.row.is_staff_set else "owner"


class LimitsOut(serializers.Serializer[Any]):
    results = LimitOut(many=True)

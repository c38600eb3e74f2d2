"""Billing's input and output. Credits are strings with fixed places, never JSON numbers."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from billing.models import CreditGrant, CreditTransaction, Enforcement, ShadowRefusal
from billing.reports.buckets import BUCKETS, BUCKETS_MAX, TooManyBuckets, bucket_starts
from billing.reports.usage import GROUPS
from config.core.fields import ClosedSerializer, CreditsOut, UsageCreditsOut


class GrantOut(serializers.ModelSerializer[CreditGrant]):
    amount = CreditsOut()
    remaining = CreditsOut()

    class Meta:
        model = CreditGrant
        fields = ["id", "kind", "amount", "remaining", "expires_at", "priority", "campaign", "aliases"]


class NextExpiryOut(serializers.Serializer[Any]):
    """What leaves the wallet next, if it is not used before."""

    expires_at = serializers.DateTimeField()
    amount = CreditsOut()


class WalletOut(serializers.Serializer[Any]):
    balance = CreditsOut()
    held = CreditsOut()
    available = CreditsOut()
    low_balance = serializers.BooleanField()
    enforcement = serializers.ChoiceField(choices=Enforcement.choices)
    grants = GrantOut(many=True)
    next_expiry = NextExpiryOut(allow_null=True)
    updated_at = serializers.DateTimeField(allow_null=True)


class TransactionOut(serializers.ModelSerializer[CreditTransaction]):
    amount = CreditsOut()
    balance_after = CreditsOut()

    class Meta:
        model = CreditTransaction
        fields = [
            "id", "seq", "kind", "amount", "balance_after", "reference_type", "reference_id", "event_id", "grant_id",
            "reason", "initiated_by", "created_at",
        ]  # fmt: skip


class HoldOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    reference_type = serializers.CharField()
    reference_id = serializers.UUIDField()
    amount = CreditsOut()
    expires_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()


class SupportWalletOut(WalletOut):
    user_id = serializers.UUIDField()
    wallet_id = serializers.UUIDField(allow_null=True)
    last_seq = serializers.IntegerField()
    holds = HoldOut(many=True)


class UsageSumsOut(serializers.Serializer[Any]):
    call_count = serializers.IntegerField(source="calls")
    input_tokens_fresh = serializers.IntegerField()
    input_tokens_cached = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    oe_tokens = UsageCreditsOut()
    credits_burned = UsageCreditsOut()
    credits_charged = CreditsOut()


class UsageGroupOut(UsageSumsOut):
    """Only the members named in `group_by` are there."""

    model_alias = serializers.CharField(required=False)
    agent = serializers.UUIDField(required=False, allow_null=True)
    room = serializers.UUIDField(required=False, allow_null=True)
    session = serializers.UUIDField(required=False, allow_null=True)
    purpose = serializers.CharField(required=False)

    def to_representation(self, instance: dict[str, Any]) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return {name: value for name, value in shown.items() if name not in GROUPS or name in instance}


class UsageBucketOut(UsageSumsOut):
    start = serializers.DateTimeField()


class UsageOut(serializers.Serializer[Any]):
    totals = UsageSumsOut()
    breakdown = UsageGroupOut(many=True)
    buckets = UsageBucketOut(many=True)


@extend_schema_field(OpenApiTypes.STR)
class InstantField(serializers.Field[datetime, str, str, Any]):
    """An RFC 3339 time, or a date: midnight in the query's time zone."""

    def to_internal_value(self, data: str) -> datetime:
        try:
            value = parse_datetime(data)
            day = None if value else parse_date(data)
        except (ValueError, TypeError):
            value = day = None
        zone = zone_of(self.context.get("tz"))
        if day is not None:
            value = datetime.combine(day, time(), tzinfo=zone)
        if value is None:
            raise serializers.ValidationError("An RFC 3339 time or a date.")
        try:
            return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
        except OverflowError:
            raise serializers.ValidationError("Out of range.") from None

    def to_representation(self, value: datetime) -> str:
        return value.isoformat()


# What the time zone database has besides places.
_NO_ZONES = {"localtime", "Factory", "posixrules"}


@cache
def zones() -> frozenset[str]:
    """Read once: it is a walk through the files of the time zone database."""
    return frozenset(available_timezones() - _NO_ZONES)


def zone_of(name: object) -> ZoneInfo:
    return ZoneInfo(name) if isinstance(name, str) and name in zones() else ZoneInfo("UTC")


def is_zone(name: str) -> bool:
    return name in zones()


class RangeIn(serializers.Serializer[Any]):
    """`from` (included) and `to` (excluded); default: the last 30 days."""

    to = InstantField(required=False)
    tz = serializers.CharField(required=False, default="UTC", max_length=64)

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "from": InstantField(required=False)}

    def validate_tz(self, value: str) -> ZoneInfo:
        if not is_zone(value):
            raise serializers.ValidationError("An IANA time zone, such as Europe/Berlin.")
        return ZoneInfo(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs.setdefault("to", timezone.now())
        if "from" not in attrs:
            try:
                attrs["from"] = attrs["to"] - timedelta(days=30)
            except OverflowError:
                raise serializers.ValidationError({"to": "Out of range."}) from None
        if attrs["from"] > attrs["to"]:
            raise serializers.ValidationError({"from": "Must not lie after `to`."})
        return attrs


class BucketsIn(RangeIn):
    bucket = serializers.ChoiceField(choices=list(BUCKETS), default="day")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        try:
            bucket_starts(start=attrs["from"], end=attrs["to"], tz=attrs["tz"], bucket=attrs["bucket"])
        except TooManyBuckets:
            problem = ErrorDetail(f"More than {BUCKETS_MAX} buckets; take larger ones.", code="too_many_buckets")
            raise serializers.ValidationError({"bucket": [problem]}) from None
        except OverflowError:
            raise serializers.ValidationError({"from": "Out of range."}) from None
        return attrs


class UsageIn(BucketsIn):
    group_by = serializers.CharField(required=False, default="model_alias", max_length=200)
    groups = tuple(name for name in GROUPS if name != "user")

    def validate_group_by(self, value: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        unknown = [name for name in names if name not in self.groups]
        if unknown or not names:
            raise serializers.ValidationError(f"Any of {', '.join(self.groups)}.")
        return names


class TransactionFilterIn(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=CreditTransaction.Kind.choices, required=False)
    to = InstantField(required=False)

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "from": InstantField(required=False)}


class EnforcementIn(ClosedSerializer):
    enforcement = serializers.ChoiceField(choices=Enforcement.choices)


class EnforcementOut(serializers.Serializer[Any]):
    enforcement = serializers.ChoiceField(choices=Enforcement.choices)
    environment = serializers.ChoiceField(choices=Enforcement.choices)
    updated_by = serializers.CharField(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        # A field named `source` would hide the one that every serializer field has.
        return {**super().get_fields(), "source": serializers.ChoiceField(choices=["user", "override", "environment"])}


class ShadowUserOut(serializers.Serializer[Any]):
    user_id = serializers.UUIDField()
    email = serializers.CharField()
    refused = serializers.IntegerField()
    credits_missing = CreditsOut()
    last_at = serializers.DateTimeField()


class ShadowOut(serializers.Serializer[Any]):
    """`pieces_of_work`: turns and direct completions begun in that time, refused or not."""

    to = serializers.DateTimeField()
    pieces_of_work = serializers.IntegerField()
    refused = serializers.IntegerField()
    would_not_have_begun = serializers.IntegerField()
    would_have_ended_early = serializers.IntegerField()
    users = serializers.IntegerField()
    top_users = ShadowUserOut(many=True)

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}


class ShadowFilterIn(RangeIn):
    user_id = serializers.UUIDField(required=False)


class ShadowRefusalOut(serializers.ModelSerializer[ShadowRefusal]):
    """A turn or a direct completion (`reference_type`, `reference_id`), with the numbers of that moment."""

    balance = CreditsOut()
    held = CreditsOut()
    available = CreditsOut()

    class Meta:
        model = ShadowRefusal
        fields = [
            "id", "user_id", "reference_type", "reference_id", "stage", "model_alias", "balance", "held", "available",
            "required", "created_at",
        ]  # fmt: skip

    def get_fields(self) -> dict[str, Any]:
        # Every serializer field has a `required` of its own, which one of that name would hide.
        return {**super().get_fields(), "required": CreditsOut()}

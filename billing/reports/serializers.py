"""Input and output of the reports for staff: the shapes of `/users/me/usage`, with what providers took beside them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from billing.reports.margin import margin_usd
from billing.reports.usage import GROUPS
from billing.serializers import BucketsIn, UsageIn, UsageSumsOut
from config.core.fields import CreditsOut

GROUPS_MAX = 10_000


class UsageSummaryIn(UsageIn):
    user_id = serializers.UUIDField(required=False)
    model_alias = serializers.CharField(required=False, max_length=64)
    limit = serializers.IntegerField(required=False, default=1_000, min_value=1, max_value=GROUPS_MAX)
    groups = tuple(GROUPS)


class UsageSummarySumsOut(UsageSumsOut):
    """`margin_usd`: what credits of calls of known cost are worth, less that cost; null without CREDIT_USD_VALUE."""

    credits_with_cost = CreditsOut()
    provider_cost_usd = CreditsOut()
    calls_without_cost = serializers.IntegerField()
    margin_usd = serializers.SerializerMethodField()
    calls_estimated = serializers.IntegerField()
    credits_estimated = CreditsOut()

    def get_margin_usd(self, sums: dict[str, Any]) -> str | None:
        margin = margin_usd(sums)
        return None if margin is None else CreditsOut().to_representation(margin)


class UsageSummaryGroupOut(UsageSummarySumsOut):
    """Only the members named in `group_by` are there."""

    model_alias = serializers.CharField(required=False)
    agent = serializers.UUIDField(required=False, allow_null=True)
    room = serializers.UUIDField(required=False, allow_null=True)
    session = serializers.UUIDField(required=False, allow_null=True)
    purpose = serializers.CharField(required=False)
    user = serializers.UUIDField(required=False)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        asked = self.context.get("group_by", GROUPS)
        return {name: field for name, field in fields.items() if name not in GROUPS or name in asked}


class UsageSummaryBucketOut(UsageSummarySumsOut):
    start = serializers.DateTimeField()


class UsageSummaryOut(serializers.Serializer[Any]):
    """`others`: the sums of the groups that `limit` left out of `breakdown`; null where it left out none."""

    totals = UsageSummarySumsOut()
    breakdown = UsageSummaryGroupOut(many=True)
    buckets = UsageSummaryBucketOut(many=True)
    others = UsageSummarySumsOut(allow_null=True)


class ActiveUsersIn(BucketsIn):
    user_id = serializers.UUIDField(required=False)
    model_alias = serializers.CharField(required=False, max_length=64)


class ActiveUsersBucketOut(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    active_users = serializers.IntegerField()


class ActiveUsersOut(serializers.Serializer[Any]):
    """Users do not add up: who is active on two days counts once in `active_users`."""

    active_users = serializers.IntegerField()
    buckets = ActiveUsersBucketOut(many=True)

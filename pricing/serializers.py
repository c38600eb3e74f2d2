"""What comes in and goes out of the pricing API. Multipliers: strings with 4 places. Credits and USD: with 8."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from config.core.fields import ClosedSerializer, CreditsField, CreditsOut, TextField, UsageCreditsOut
from pricing.fields import MultiplierField, UsdField, UsdOut, WholeNumberField
from pricing.models import LARGEST_TOKENS, PricingVersion


class ModelOut(serializers.Serializer[Any]):
    """An alias that users can call, at exactly the price that billing would charge."""

    model_alias = serializers.CharField()
    multiplier = UsageCreditsOut()
    context_tokens = serializers.IntegerField()
    credits_per_1k_input = CreditsOut()
    credits_per_1k_cached_input = CreditsOut()
    credits_per_1k_output = CreditsOut()
    provider_model = serializers.CharField()
    pricing_version = serializers.CharField()


class ToolPricesOut(serializers.DictField):
    """Credits per call by the tool's name. A tool that is not there is free."""

    child = CreditsOut()


class ModelsOut(serializers.Serializer[Any]):
    pricing_version = serializers.CharField()
    revision = serializers.IntegerField()
    tools = ToolPricesOut(help_text="Credits that a successful call costs, by tool; those not named are free.")
    results = ModelOut(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class ModelPricingOut(serializers.Serializer[Any]):
    """An alias's row in one version. USD rates are the provider's own: cost, never charge."""

    model_alias = serializers.CharField()
    multiplier = UsageCreditsOut()
    provider = serializers.CharField()
    provider_model = serializers.CharField()
    context_tokens = serializers.IntegerField()
    fallback_alias = serializers.CharField(allow_null=True)
    provider_input_usd_per_mtok = UsdOut()
    provider_cached_input_usd_per_mtok = UsdOut()
    provider_cache_write_usd_per_mtok = UsdOut()
    provider_output_usd_per_mtok = UsdOut()


class EditedModelOut(ModelPricingOut):
    """The row after an edit, with the version's revision that holds from then on."""

    updated_at = serializers.DateTimeField()
    pricing_version = serializers.CharField(source="version.version")
    revision = serializers.IntegerField(source="version.revision")


class WeightsOut(serializers.Serializer[Any]):
    """OE tokens that a token of each pool counts as, and how many OE tokens a credit buys at multiplier 1."""

    input_fresh = UsageCreditsOut()
    input_cache_write = UsageCreditsOut()
    input_cached = UsageCreditsOut()
    output = UsageCreditsOut()
    divisor = UsageCreditsOut()


class PricingOut(serializers.Serializer[Any]):
    pricing_version = serializers.CharField()
    revision = serializers.IntegerField()
    status = serializers.ChoiceField(choices=PricingVersion.Status.choices)
    weights = WeightsOut()
    models = ModelPricingOut(many=True)
    tools = ToolPricesOut(help_text="Credits that a successful call costs, by tool; those not named are free.")


class EditedToolOut(serializers.Serializer[Any]):
    """A tool's price after an edit, with the version's revision that holds from then on."""

    tool_name = serializers.CharField()
    credits_per_call = CreditsOut()
    updated_at = serializers.DateTimeField()
    pricing_version = serializers.CharField(source="version.version")
    revision = serializers.IntegerField(source="version.revision")


class MultiplierIn(ClosedSerializer):
    multiplier = MultiplierField()
    pricing_version = TextField(required=False, max_length=64, help_text="Default: the active version.")
    revision = WholeNumberField(
        required=False, min_value=1, max_value=LARGEST_TOKENS, help_text="Refuse if the version has another by now."
    )


class ModelPricingIn(ClosedSerializer):
    """Only what is named changes. A new alias needs `multiplier`, `provider_model` and `context_tokens`."""

    multiplier = MultiplierField(required=False)
    provider_model = TextField(required=False, max_length=255)
    context_tokens = WholeNumberField(required=False, min_value=1, max_value=LARGEST_TOKENS)
    provider = TextField(required=False, max_length=64)
    fallback_alias = TextField(required=False, allow_null=True, max_length=64)
    provider_input_usd_per_mtok = UsdField(required=False, allow_null=True)
    provider_cached_input_usd_per_mtok = UsdField(required=False, allow_null=True)
    provider_cache_write_usd_per_mtok = UsdField(required=False, allow_null=True)
    provider_output_usd_per_mtok = UsdField(required=False, allow_null=True)
    revision = WholeNumberField(
        required=False, min_value=1, max_value=LARGEST_TOKENS, help_text="Refuse if the version has another by now."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.keys() - {"revision"}:
            raise serializers.ValidationError({"multiplier": "Name at least one thing to change."})
        return attrs


class ToolPricingIn(ClosedSerializer):
    credits_per_call = CreditsField()
    revision = WholeNumberField(
        required=False, min_value=1, max_value=LARGEST_TOKENS, help_text="Refuse if the version has another by now."
    )


class RevisionQuery(serializers.Serializer[Any]):
    """In an address, where a number is text."""

    revision = serializers.IntegerField(required=False, min_value=1, max_value=LARGEST_TOKENS)

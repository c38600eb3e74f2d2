"""What comes in and goes out about price versions. Weights, divisor and multipliers: strings with 4 places."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.core.fields import ClosedSerializer, CreditsOut, MomentField, TextField, UsageCreditsOut
from pricing.fields import DivisorField, PercentOut, WeightField, WholeNumberField
from pricing.models import LARGEST_TOKENS, WEIGHTS, PricingVersion
from pricing.serializers import ModelPricingOut

_POOLS = tuple(name.removeprefix("weight_") for name in WEIGHTS)
_NAME_MAX = 64


def _revision(*, source: str | None = "expected_revision", whose: str = "the version") -> WholeNumberField:
    """Named for the argument that the services know it by."""
    return WholeNumberField(
        required=False,
        min_value=1,
        max_value=LARGEST_TOKENS,
        source=source,
        help_text=f"Refuse if {whose} has another by now.",
    )


def _replaces() -> TextField:
    return TextField(
        required=False, max_length=_NAME_MAX, help_text="Refuse if another version than this one is active by now."
    )


def _replaces_revision() -> WholeNumberField:
    return _revision(source=None, whose="the active version")


class PoolWeightsOut(serializers.Serializer[Any]):
    """OE tokens that one token of each pool counts as."""

    input_fresh = UsageCreditsOut()
    input_cache_write = UsageCreditsOut()
    input_cached = UsageCreditsOut()
    output = UsageCreditsOut()


class VersionOut(serializers.ModelSerializer[PricingVersion]):
    weights = serializers.SerializerMethodField()
    divisor = UsageCreditsOut()

    class Meta:
        model = PricingVersion
        fields = [
            "version", "status", "revision", "weights", "divisor", "effective_at", "activated_at", "retired_at",
            "created_at", "note",
        ]  # fmt: skip

    @extend_schema_field(PoolWeightsOut)
    def get_weights(self, version: PricingVersion) -> dict[str, str]:
        found: dict[str, str] = PoolWeightsOut({pool: getattr(version, f"weight_{pool}") for pool in _POOLS}).data
        return found


class VersionWithModelsOut(VersionOut):
    """A version with its prices, all of the revision that it names."""

    models = serializers.SerializerMethodField()

    class Meta(VersionOut.Meta):
        fields = [*VersionOut.Meta.fields, "models"]

    @extend_schema_field(ModelPricingOut(many=True))
    def get_models(self, version: PricingVersion) -> list[dict[str, Any]]:
        return [*ModelPricingOut(self.context["models"], many=True).data]


class PoolWeightsIn(ClosedSerializer):
    """Pools that are not named keep what they have."""

    input_fresh = WeightField(required=False)
    input_cache_write = WeightField(required=False)
    input_cached = WeightField(required=False)
    output = WeightField(required=False)


class _DraftFieldsIn(ClosedSerializer):
    weights = PoolWeightsIn(required=False)
    divisor = DivisorField(required=False)
    effective_at = MomentField(
        required=False, allow_null=True, help_text="A plan: nothing happens before the version is scheduled."
    )
    note = TextField(required=False, allow_blank=True, max_length=2000)

    def fields_of_draft(self) -> dict[str, Any]:
        """By the model's names."""
        data = self.validated_data
        given = {name: data[name] for name in ("divisor", "effective_at", "note") if name in data}
        return given | {f"weight_{pool}": value for pool, value in data.get("weights", {}).items()}


class NewDraftIn(_DraftFieldsIn):
    version = TextField(max_length=_NAME_MAX, help_text="Its name, which never changes.")
    clone_from = TextField(required=False, max_length=_NAME_MAX, help_text="Default: the active version.")


class DraftIn(_DraftFieldsIn):
    """Only what is named changes."""

    revision = _revision()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.keys() - {"expected_revision"}:
            raise serializers.ValidationError({"note": "Name at least one thing to change."})
        return attrs


class RevisionIn(ClosedSerializer):
    revision = _revision()


class ScheduleIn(RevisionIn):
    effective_at = MomentField(required=False, help_text="Default: the time that the draft names.")


class ActivateIn(RevisionIn):
    replaces = _replaces()
    replaces_revision = _replaces_revision()


class RollBackIn(RevisionIn):
    version = TextField(
        required=False,
        max_length=_NAME_MAX,
        source="name",
        help_text="The new version's name; default: `<old name>-rollback-<n>`.",
    )
    note = TextField(required=False, max_length=2000)
    replaces = _replaces()
    replaces_revision = _replaces_revision()


class ChangeOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    old = serializers.CharField(allow_null=True)
    new = serializers.CharField(allow_null=True)
    percent = PercentOut()


class RowOut(serializers.Serializer[Any]):
    key = serializers.CharField()
    values = ChangeOut(many=True)


class RowChangesOut(serializers.Serializer[Any]):
    """Rows by the name of what they price. Added and removed ones have all their values, changed ones what differs."""

    name = serializers.CharField(help_text="What kind of rows: `models`.")
    key = serializers.CharField(help_text="What names a row: `model_alias`.")
    added = serializers.SerializerMethodField()
    removed = serializers.SerializerMethodField()
    changed = serializers.SerializerMethodField()

    @extend_schema_field(RowOut(many=True))
    def get_added(self, kind: Any) -> Any:
        return _rows(kind.added)

    @extend_schema_field(RowOut(many=True))
    def get_removed(self, kind: Any) -> Any:
        return _rows(kind.removed)

    @extend_schema_field(RowOut(many=True))
    def get_changed(self, kind: Any) -> Any:
        return _rows(kind.changed)


def _rows(rows: list[tuple[str, Any]]) -> Any:
    return RowOut([{"key": key, "values": values} for key, values in rows], many=True).data


class SamplePriceOut(serializers.Serializer[Any]):
    model_alias = serializers.CharField()
    old = CreditsOut(allow_null=True)
    new = CreditsOut(allow_null=True)
    percent = PercentOut()


class PoolsOut(serializers.Serializer[Any]):
    input_fresh = serializers.IntegerField()
    input_cached = serializers.IntegerField()
    input_cache_write = serializers.IntegerField()
    output = serializers.IntegerField()


class PricedSampleOut(serializers.Serializer[Any]):
    """A turn of these calls, priced with each alias."""

    name = serializers.CharField(source="sample.name")
    title = serializers.CharField(source="sample.title")
    calls = PoolsOut(source="sample.calls", many=True)
    prices = SamplePriceOut(many=True)


class ComparisonOut(serializers.Serializer[Any]):
    """From `against` (old) to `version` (new). `percent` is of the old value; null where that is 0 or missing."""

    version = serializers.CharField(source="version.pricing_version")
    revision = serializers.IntegerField(source="version.revision")
    against = serializers.CharField(source="against.pricing_version")
    against_revision = serializers.IntegerField(source="against.revision")
    weights = ChangeOut(many=True, help_text="Weights and divisor that differ.")
    rows = RowChangesOut(many=True)
    samples = PricedSampleOut(many=True)

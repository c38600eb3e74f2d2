"""Credits: strings with 8 places; per cent with 2."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.models import PriceSimulation
from billing.simulating.recording import read
from billing.simulating.services import DEFAULT_DAYS, MOST_DAYS
from config.core.fields import ClosedSerializer, CreditsOut
from pricing.fields import PercentOut, WholeNumberField


class SimulationQuery(serializers.Serializer[Any]):
    days = serializers.IntegerField(min_value=1, max_value=MOST_DAYS, default=DEFAULT_DAYS)


_SUMS = ("calls", "credits_charged", "credits_under_version", "difference", "percent")


class SumsOut(serializers.Serializer[Any]):
    calls = serializers.IntegerField()
    credits_charged = CreditsOut()
    credits_under_version = CreditsOut()
    difference = CreditsOut()
    percent = PercentOut()


class AliasSumsOut(SumsOut):
    model_alias = serializers.CharField()


class UserSumsOut(SumsOut):
    user_id = serializers.UUIDField()
    email = serializers.CharField(allow_blank=True)


class UnpricedOut(serializers.Serializer[Any]):
    model_alias = serializers.CharField()
    calls = serializers.IntegerField()
    credits_charged = CreditsOut()


class CoverageOut(serializers.Serializer[Any]):
    """Turns and direct calls that cost more than their wallet held when they were settled.

    `hard` would have refused at least these or ended them early: each is judged by the balance that there really was.
    """

    pieces_of_work = serializers.IntegerField()
    not_covered_as_billed = serializers.IntegerField()
    not_covered = serializers.IntegerField(help_text="Under the version.")
    newly_not_covered = serializers.IntegerField(help_text="Under the version, though covered as billed.")
    not_judged = serializers.IntegerField(help_text="They cost nothing as billed, so no debit tells what there was.")
    without_price = serializers.IntegerField(help_text="They call an alias that the version lacks.")


class SimulationOut(serializers.Serializer[Any]):
    """Calls whose alias the version lacks are in `without_price` and in no other sum: each would have been refused."""

    version = serializers.CharField(source="pricing_version")
    revision = serializers.IntegerField()
    days = serializers.IntegerField()
    totals = SumsOut()
    by_alias = serializers.SerializerMethodField()
    top_users = serializers.SerializerMethodField()
    without_price = serializers.SerializerMethodField()
    coverage = CoverageOut()

    def get_fields(self) -> dict[str, Any]:
        # `from` is a word of Python's.
        times = {
            "from": serializers.DateTimeField(source="start"),
            "to": serializers.DateTimeField(source="end"),
        }
        return {**super().get_fields(), **times}

    @extend_schema_field(AliasSumsOut(many=True))
    def get_by_alias(self, simulation: Any) -> list[Any]:
        rows = [{"model_alias": alias, **_sums(sums)} for alias, sums in simulation.by_alias]
        return [*AliasSumsOut(rows, many=True).data]

    @extend_schema_field(UserSumsOut(many=True))
    def get_top_users(self, simulation: Any) -> list[Any]:
        rows = [{"user_id": row.user_id, "email": row.email, **_sums(row.sums)} for row in simulation.top_users]
        return [*UserSumsOut(rows, many=True).data]

    @extend_schema_field(UnpricedOut(many=True))
    def get_without_price(self, simulation: Any) -> list[Any]:
        rows = [{"model_alias": alias, **_sums(sums)} for alias, sums in simulation.without_price]
        return [*UnpricedOut(rows, many=True).data]


class SimulationIn(ClosedSerializer):
    days = WholeNumberField(required=False, min_value=1, max_value=MOST_DAYS, default=DEFAULT_DAYS)


class RunOut(serializers.ModelSerializer[PriceSimulation]):
    """A simulation that is done in the background. `result` is there once `status` is `done`."""

    version = serializers.CharField(source="pricing_version")
    revision = serializers.IntegerField(source="pricing_revision")
    calls = serializers.IntegerField(allow_null=True, help_text="How many there are to read; null before it runs.")
    result = serializers.SerializerMethodField()

    class Meta:
        model = PriceSimulation
        fields = [
            "id", "version", "revision", "days", "status", "calls", "calls_read", "created_at", "started_at",
            "finished_at", "result",
        ]  # fmt: skip

    @extend_schema_field({"oneOf": [{"$ref": "#/components/schemas/SimulationOut"}, {"type": "null"}]})
    def get_result(self, row: PriceSimulation) -> dict[str, Any] | None:
        simulation = read(row)
        return None if simulation is None else SimulationOut(simulation).data


def _sums(sums: Any) -> dict[str, Any]:
    return {name: getattr(sums, name) for name in _SUMS}

"""Serializer fields for money, and a serializer that refuses members it does not know."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from config.core.money import ledger_text, parse_credits, usage_text

# A body of a megabyte can hold many thousands of unknown names; the answer names the first few.
UNKNOWN_SHOWN = 20


@extend_schema_field({"type": "string", "example": "12.34500000"})
class CreditsOut(serializers.Field[Decimal, Any, str, Any]):
    """Ledger credits: a string with 8 places."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Decimal) -> str:
        return ledger_text(Decimal(value))


@extend_schema_field({"type": "string", "example": "0.0062"})
class UsageCreditsOut(serializers.Field[Decimal, Any, str, Any]):
    """Usage credits, multipliers and OE tokens: a string with 4 places."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Decimal) -> str:
        return usage_text(Decimal(value))


@extend_schema_field(OpenApiTypes.STR)
class CreditsField(serializers.Field[Decimal, Any, str, Any]):
    """Credits coming in: a decimal string with at most 8 places that fits the ledger. A JSON number is refused."""

    def __init__(self, *, positive: bool = False, **kwargs: Any) -> None:
        self.positive = positive
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> Decimal:
        value = parse_credits(data)
        if value is None:
            raise serializers.ValidationError(
                "A decimal string with at most 10 digits before and 8 after the point.", code="invalid_amount"
            )
        if self.positive and value <= 0:
            raise serializers.ValidationError("Must be above 0.", code="not_positive")
        return value

    def to_representation(self, value: Decimal) -> str:
        return ledger_text(value)


class TextField(serializers.CharField):
    """Text coming in. DRF would take numbers for text; a client that sends one has made a mistake it should hear of."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class MomentField(serializers.DateTimeField):
    """A time coming in, with its zone. DRF would take 08:00 for 08:00 UTC, whatever clock its sender had looked at."""

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise serializers.ValidationError("Say its time zone, as in 2027-01-01T08:00:00Z.", code="no_time_zone")
        return super().enforce_timezone(value)


class IdField(serializers.UUIDField):
    """An id coming in: its text. DRF would take the numbers 5 and true for ids, too."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class ClosedSerializer(serializers.Serializer[Any]):
    """Refuses members that it does not know: a misspelt option must not be silently ignored where money moves."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            unknown = sorted(str(name) for name in data if name not in self.fields)[:UNKNOWN_SHOWN]
            if unknown:
                raise serializers.ValidationError(
                    {name: [ErrorDetail("Unknown member.", code="unknown_field")] for name in unknown}
                )
        return super().to_internal_value(data)  # type: ignore[no-any-return]

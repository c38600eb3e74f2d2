"""Decimals that come in over the API: as a string or as a JSON number, exact or not at all."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.core.money import ledger_text
from config.core.parsers import WrittenFloat


def parse_decimal(data: object, *, digits: int, places: int) -> Decimal | None:
    """A decimal ≥ 0 with at most `digits` digits before and `places` after the point; None for anything else.

    Of a JSON number what was written counts, not the float that it is nearest to. Text with an exponent, a sign or
    blanks is refused, so are NaN and Infinity.
    """
    if isinstance(data, bool) or not isinstance(data, str | int | float | Decimal):
        return None
    text = data if isinstance(data, str) else _plain(data)
    if not re.fullmatch(rf"[0-9]{{1,{digits}}}(\.[0-9]{{1,{places}}})?", text):
        return None
    return Decimal(text).quantize(Decimal(1).scaleb(-places))


def _plain(number: float | Decimal) -> str:
    """A number's text without an exponent. What is not finite keeps its name, which no pattern matches."""
    try:
        exact = Decimal(_written(number)) if isinstance(number, float) else Decimal(number)
    except InvalidOperation:
        # An exponent that even a decimal has no room for.
        return "out of range"
    if not exact.is_finite() or abs(exact.adjusted()) > 40:
        return "out of range" if exact else "0"
    text = format(exact, "f").removeprefix("-") if exact == 0 else format(exact, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _written(number: float) -> str:
    return number.written if isinstance(number, WrittenFloat) else repr(number)


class _DecimalField(serializers.Field[Decimal, Any, str, Any]):
    digits: int
    places: int
    code: str

    def to_internal_value(self, data: Any) -> Decimal:
        value = parse_decimal(data, digits=self.digits, places=self.places)
        if value is None:
            raise serializers.ValidationError(
                f"A number of at least 0 with at most {self.digits} digits before and {self.places} after the point.",
                code=self.code,
            )
        return value


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "number", "minimum": 0}], "example": "2.0000"})
class MultiplierField(_DecimalField):
    """Finite, ≥ 0, at most 4 places, below 10^8."""

    digits, places, code = 8, 4, "invalid_multiplier"


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "number", "minimum": 0}], "example": "2.50000000"})
class UsdField(_DecimalField):
    """US dollars per million tokens: finite, ≥ 0, at most 8 places, below 10^12."""

    digits, places, code = 12, 8, "invalid_usd"


class WholeNumberField(serializers.IntegerField):
    """A JSON number without a point. Text, `true` and 1.0 are no whole numbers here."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return int(super().to_internal_value(data))


@extend_schema_field({"type": ["string", "null"], "example": "2.50000000"})
class UsdOut(serializers.Field[Decimal, Any, str, Any]):
    """US dollars: a string with 8 places."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Decimal) -> str:
        return ledger_text(value)


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "number", "minimum": 0}], "example": "0.3500"})
class WeightField(_DecimalField):
    """Finite, ≥ 0, at most 4 places, below 10^6."""

    digits, places, code = 6, 4, "invalid_weight"


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "number"}], "example": "10000.0000"})
class DivisorField(_DecimalField):
    """Finite, above 0, at most 4 places, below 10^14."""

    digits, places, code = 14, 4, "invalid_divisor"

    def to_internal_value(self, data: Any) -> Decimal:
        value = super().to_internal_value(data)
        if value == 0:
            raise serializers.ValidationError("Must be above 0.", code=self.code)
        return value


@extend_schema_field({"type": ["string", "null"], "example": "-12.50"})
class PercentOut(serializers.Field[Decimal, Any, str, Any]):
    """Per cent, signed: a string with 2 places."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Decimal) -> str:
        return format(value, "z.2f")

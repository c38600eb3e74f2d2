"""What is left of the credits charged when providers are paid. Only over calls whose cost is known."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.conf import settings

from billing.cost_rules import worth_usd
from config.core.money import EXACT, ledger


def margin_usd(sums: Mapping[str, Any]) -> Decimal | None:
    """At 8 places; None where nobody has said what a credit is worth (`CREDIT_USD_VALUE`)."""
    worth = _worth(sums)
    return None if worth is None else ledger(EXACT.subtract(worth, sums["provider_cost_usd"]))


def margin_percent(sums: Mapping[str, Any]) -> Decimal | None:
    """The margin in percent of what the credits are worth, at one place; None where there is none to speak of."""
    worth, margin = _worth(sums), margin_usd(sums)
    if not worth or margin is None:
        return None
    return EXACT.divide(margin * 100, worth).quantize(Decimal("0.1"), context=EXACT)


def _worth(sums: Mapping[str, Any]) -> Decimal | None:
    value = settings.CREDIT_USD_VALUE
    return None if value is None else worth_usd(sums["credits_with_cost"], value)

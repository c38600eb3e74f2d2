"""What is odd about an alias's day: pure rules over decimals. `billing.costs` reads the days and keeps the findings.

Credits and USD at 8 places. A cost of 0 is known and free (its rates are an explicit 0); a cost that is unknown is no
cost at all, and never counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median
from typing import Literal

from config.core.money import EXACT, ledger_text, usage_text

Kind = Literal["cost_unknown", "cost_without_credits", "below_cost", "drift"]
KINDS: tuple[Kind, ...] = ("cost_unknown", "cost_without_credits", "below_cost", "drift")
# What a handful of calls costs says more about their mix of tokens than about the price.
DRIFT_LEAST_CALLS = 20
# The median of one or two days is whatever happened on them.
DRIFT_LEAST_DAYS = 3
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class AliasDay:
    """The calls of one alias at one provider on one day."""

    provider: str
    model_alias: str
    calls: int
    credits_charged: Decimal
    credits_with_cost: Decimal
    provider_cost_usd: Decimal
    calls_without_cost: int
    calls_lost: int = 0
    charges_above_hold: int = 0
    # Calls that were charged for and whose cost is unknown.
    billed_without_cost: int = 0
    # Calls that cost something and were charged nothing, by how they ended, and what they cost.
    unpaid: Mapping[str, int] = field(default_factory=dict)
    unpaid_usd: Decimal = Decimal(0)

    @property
    def calls_with_cost(self) -> int:
        return self.calls - self.calls_without_cost


@dataclass(frozen=True, slots=True)
class Odd:
    """A finding: which rule, and the numbers in a sentence."""

    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator says: USD that a credit is worth (None: not said), and by how many percent a rate may move."""

    credit_usd_value: Decimal | None
    drift_percent: int


def credits_per_usd(*, credits: Decimal, usd: Decimal, calls: int) -> Decimal | None:
    """None where too few calls say something about it, or nothing was paid."""
    if usd <= 0 or calls < DRIFT_LEAST_CALLS:
        return None
    return EXACT.divide(credits, usd)


def worth_usd(credits: Decimal, credit_usd_value: Decimal) -> Decimal:
    """What credits are worth, exactly. A credit is no USD: only the operator says what one is worth."""
    return EXACT.multiply(credits, credit_usd_value)


def judge(day: AliasDay, *, rates_before: Sequence[Decimal], limits: Limits) -> list[Odd]:
    """All that is odd, each kind at most once. `rates_before`: the alias's credits per USD on each of the last days."""
    found = (
        _cost_unknown(day),
        _cost_without_credits(day),
        _below_cost(day, limits.credit_usd_value),
        _drift(day, rates_before, limits.drift_percent),
    )
    return [odd for odd in found if odd is not None]


def _cost_unknown(day: AliasDay) -> Odd | None:
    if day.billed_without_cost == 0:
        return None
    credits = ledger_text(day.credits_charged - day.credits_with_cost)
    return Odd("cost_unknown", f"{day.billed_without_cost} calls charged {credits} credits; their cost is not known")


def _cost_without_credits(day: AliasDay) -> Odd | None:
    if not day.unpaid:
        return None
    statuses = ", ".join(f"{status}: {calls}" for status, calls in sorted(day.unpaid.items()))
    return Odd("cost_without_credits", f"calls that cost {ledger_text(day.unpaid_usd)} USD and no credits: {statuses}")


def _below_cost(day: AliasDay, credit_usd_value: Decimal | None) -> Odd | None:
    if credit_usd_value is None:
        return None
    revenue = worth_usd(day.credits_with_cost, credit_usd_value)
    if revenue >= day.provider_cost_usd:
        return None
    return Odd("below_cost", f"worth {ledger_text(revenue)} USD, cost {ledger_text(day.provider_cost_usd)} USD")


def _drift(day: AliasDay, rates_before: Sequence[Decimal], drift_percent: int) -> Odd | None:
    rate = credits_per_usd(credits=day.credits_with_cost, usd=day.provider_cost_usd, calls=day.calls_with_cost)
    if rate is None or len(rates_before) < DRIFT_LEAST_DAYS:
        return None
    usual = median(rates_before)
    # Without a division, so that an alias that was free and is not any more has moved, too.
    if abs(rate - usual) * _HUNDRED <= usual * drift_percent:
        return None
    return Odd("drift", f"{usage_text(rate)} credits a USD; the median of the days before is {usage_text(usual)}")

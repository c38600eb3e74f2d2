"""What tokens cost: pure arithmetic on decimals, no database.

    OE tokens = 0.35 x fresh input + 0.35 x cache-write input + 0.10 x cached input + 1.00 x output
    credits   = OE tokens x multiplier / 10 000

Weights and divisor belong to the price version. Weights have at most 4 places, so OE tokens are exact at 4 places; the
credits are rounded once from the exact product, to 4 places for the usage event and to 8 for the ledger.

A tool has a price per call, in credits.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from config.core.money import EXACT, ZERO, ledger, ledger_up, usage

# More than any one call can cost, in credits, and little enough that thousands of them fit the ledger's Numeric(18,8).
LARGEST_CHARGE = Decimal("1000000.00000000")
# How a tool call ended that is to be paid.
TOOL_SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class TokenPools:
    """Token counts of one call, exclusive: fresh + cached + cache-write = all input. `output` has `reasoning` in it."""

    input_fresh: int = 0
    input_cached: int = 0
    input_cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        return self.input_fresh + self.input_cached + self.input_cache_write + self.output


@dataclass(frozen=True, slots=True)
class Weights:
    """What a token of each pool counts, in output-equivalent (OE) tokens, and how many OE tokens a credit buys."""

    input_fresh: Decimal = Decimal("0.35")
    input_cache_write: Decimal = Decimal("0.35")
    input_cached: Decimal = Decimal("0.10")
    output: Decimal = Decimal("1.00")
    divisor: Decimal = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class Rated:
    """A call's price: OE tokens (4 places, exact), credits for the event (4 places) and for the ledger (8 places)."""

    oe_tokens: Decimal
    credits_burned: Decimal
    credits_charged: Decimal


def oe_tokens(pools: TokenPools, weights: Weights) -> Decimal:
    exact = (
        weights.input_fresh * pools.input_fresh
        + weights.input_cache_write * pools.input_cache_write
        + weights.input_cached * pools.input_cached
        + weights.output * pools.output
    )
    return usage(exact)


def rate(pools: TokenPools, *, multiplier: Decimal, weights: Weights) -> Rated:
    """Price one call. Both roundings start from the same exact product, so neither inherits the other's error."""
    tokens = oe_tokens(pools, weights)
    exact = EXACT.divide(EXACT.multiply(tokens, multiplier), weights.divisor)
    return Rated(oe_tokens=tokens, credits_burned=usage(exact), credits_charged=ledger(exact))


@dataclass(frozen=True, slots=True)
class RatedTool:
    """A tool call's price: credits for the event (4 places) and for the ledger (8 places)."""

    credits_burned: Decimal
    credits_charged: Decimal


def rate_tool(*, status: str, credits_per_call: Decimal) -> RatedTool:
    """Price one tool call: it costs something if it ran and succeeded. Answered from memory, refused, failed, timed out
    or cancelled it costs nothing.
    """
    exact = credits_per_call if status == TOOL_SUCCESS else ZERO
    return RatedTool(credits_burned=usage(exact), credits_charged=ledger(exact))


def bound(*, input_tokens: int, output_tokens: int, multiplier: Decimal, weights: Weights) -> Decimal:
    """The most that a call of this size can cost: credits at 8 places, rounded up, all input in the dearest pool."""
    dearest = max(weights.input_fresh, weights.input_cache_write, weights.input_cached)
    exact = EXACT.multiply(dearest * input_tokens + weights.output * output_tokens, multiplier)
    return ledger_up(EXACT.divide(exact, weights.divisor))


def affordable_output_tokens(
    *, credits: Decimal, input_tokens: int, multiplier: Decimal, weights: Weights
) -> int | None:
    """The largest output whose `bound` fits the credits.

    None when nothing limits it (a free alias), -1 when even the input does not fit.
    """
    if multiplier == 0 or weights.output == 0:
        return None
    dearest = max(weights.input_fresh, weights.input_cache_write, weights.input_cached)
    budget = EXACT.divide(EXACT.multiply(credits, weights.divisor), multiplier) - dearest * input_tokens
    if budget < 0:
        return -1
    return int(EXACT.divide(budget, weights.output))

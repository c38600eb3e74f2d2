"""Three turns as they happen every day, to show what prices mean: computed by the same arithmetic that bills."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from config.core.money import ZERO
from pricing.price_book import PriceBook
from pricing.rating import TokenPools, rate


@dataclass(frozen=True, slots=True)
class SampleTurn:
    """A turn with its calls, all answered by one alias."""

    name: str
    title: str
    calls: tuple[TokenPools, ...]


SAMPLE_TURNS = (
    SampleTurn("question", "A short question to one agent", (TokenPools(input_fresh=400, output=250),)),
    SampleTurn(
        "round_table",
        "A round table of three agents in a running conversation",
        (
            TokenPools(input_fresh=800, input_cached=5_000, output=400),
            TokenPools(input_fresh=1_200, input_cached=5_000, output=400),
            TokenPools(input_fresh=1_600, input_cached=5_000, output=400),
        ),
    ),
    SampleTurn(
        "long_context",
        "A long document, read for the first time and summed up",
        (TokenPools(input_fresh=2_000, input_cache_write=50_000, output=1_500),),
    ),
)


def cost_of(sample: SampleTurn, *, book: PriceBook, model_alias: str) -> Decimal | None:
    """Credits at 8 places, each call rounded as its debit would be; None where the book lacks the alias."""
    price = book.find(model_alias)
    if price is None:
        return None
    charges = [rate(call, multiplier=price.multiplier, weights=book.weights).credits_charged for call in sample.calls]
    return sum(charges, ZERO)

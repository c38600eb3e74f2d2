"""The aliases that users can call, with what a thousand tokens cost: computed by the same arithmetic that bills."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pricing.price_book import ModelPrice, PriceBook
from pricing.providers import configured_provider_names
from pricing.rating import TokenPools, rate

_INPUT = TokenPools(input_fresh=1000)
_CACHED_INPUT = TokenPools(input_cached=1000)
_OUTPUT = TokenPools(output=1000)


@dataclass(frozen=True, slots=True)
class ListedModel:
    model_alias: str
    multiplier: Decimal
    context_tokens: int
    credits_per_1k_input: Decimal
    credits_per_1k_cached_input: Decimal
    credits_per_1k_output: Decimal
    provider_model: str
    pricing_version: str


def callable_models(book: PriceBook) -> list[ListedModel]:
    """By alias. An alias whose provider is not configured would be refused, so it is left out."""
    providers = configured_provider_names()
    return [_listed(book, price) for price in book.models.values() if price.provider in providers]


def _listed(book: PriceBook, price: ModelPrice) -> ListedModel:
    def credits(pools: TokenPools) -> Decimal:
        return rate(pools, multiplier=price.multiplier, weights=book.weights).credits_charged

    return ListedModel(
        model_alias=price.model_alias,
        multiplier=price.multiplier,
        context_tokens=price.context_tokens,
        credits_per_1k_input=credits(_INPUT),
        credits_per_1k_cached_input=credits(_CACHED_INPUT),
        credits_per_1k_output=credits(_OUTPUT),
        provider_model=price.provider_model,
        pricing_version=book.pricing_version,
    )

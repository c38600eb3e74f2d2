"""A price book: one price version at one revision, immutable. A turn holds on to the one it opened with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

from config.core.money import EXACT, ZERO, ledger
from pricing.rating import TokenPools, Weights

_MTOK = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What one alias costs and where it leads. USD rates are the provider's own, per million tokens."""

    model_alias: str
    multiplier: Decimal
    provider: str
    provider_model: str
    context_tokens: int
    fallback_alias: str | None = None
    provider_input_usd_per_mtok: Decimal | None = None
    provider_cached_input_usd_per_mtok: Decimal | None = None
    provider_cache_write_usd_per_mtok: Decimal | None = None
    provider_output_usd_per_mtok: Decimal | None = None

    def provider_cost_usd(self, pools: TokenPools) -> Decimal | None:
        """What the provider takes for these tokens, in USD at 8 places; None where its rates are not known.

        A cached or cache-write rate that is not known counts as the plain input rate.
        """
        plain, output = self.provider_input_usd_per_mtok, self.provider_output_usd_per_mtok
        if plain is None or output is None:
            return None
        cached = self.provider_cached_input_usd_per_mtok
        written = self.provider_cache_write_usd_per_mtok
        exact = (
            plain * pools.input_fresh
            + (plain if cached is None else cached) * pools.input_cached
            + (plain if written is None else written) * pools.input_cache_write
            + output * pools.output
        )
        return ledger(EXACT.divide(exact, _MTOK))


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices of one version at one revision. Exact aliases only: `gpt-5` never answers for `gpt-5.2`."""

    pricing_version: str
    revision: int
    weights: Weights
    models: Mapping[str, ModelPrice]
    # Credits per call, of the tools that have a price.
    tools: Mapping[str, Decimal] = field(default_factory=dict)

    @classmethod
    def of(
        cls, *, pricing_version: str, revision: int, weights: Weights, models: list[ModelPrice],
        tools: Mapping[str, Decimal],
    ) -> PriceBook:  # fmt: skip
        by_alias = {model.model_alias: model for model in sorted(models, key=lambda model: model.model_alias)}
        by_name = dict(sorted(tools.items()))
        return cls(pricing_version, revision, weights, MappingProxyType(by_alias), MappingProxyType(by_name))

    def find(self, model_alias: str) -> ModelPrice | None:
        return self.models.get(model_alias)

    def tool_price(self, tool_name: str) -> Decimal:
        """Credits per call at 8 places; 0 for a tool that the version does not name."""
        return self.tools.get(tool_name, ZERO)

"""Rated calls to draw from. Rating ten million anew would take longer than all the rest."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from pricing import cache
from pricing.rating import TokenPools, rate

KINDS_PER_ALIAS = 400


def rated_calls(dice: random.Random) -> Iterator[tuple[Any, ...]]:
    """Rows of `seeding.kinds`. The first of each alias used nothing: what a call that failed before any text costs."""
    book = cache.current()
    prices = [price for price in book.models.values() if price.multiplier > 0]
    for alias_no, price in enumerate(prices):
        for number in range(KINDS_PER_ALIAS):
            pools = _pools(dice) if number else TokenPools()
            rated = rate(pools, multiplier=price.multiplier, weights=book.weights)
            yield (
                alias_no * KINDS_PER_ALIAS + number, price.provider, price.model_alias, price.provider_model,
                pools.input_fresh, pools.input_cached, pools.input_cache_write, pools.output, pools.reasoning,
                pools.total, rated.oe_tokens, price.multiplier, rated.credits_burned, rated.credits_charged,
                price.provider_cost_usd(pools),
            )  # fmt: skip


def _pools(dice: random.Random) -> TokenPools:
    output = int(dice.lognormvariate(5.6, 0.8)) + 1
    return TokenPools(
        input_fresh=int(dice.lognormvariate(6.8, 0.9)),
        input_cached=int(dice.lognormvariate(6.5, 1.0)) if dice.random() < 0.4 else 0,
        input_cache_write=int(dice.lognormvariate(6.0, 0.8)) if dice.random() < 0.1 else 0,
        output=output,
        reasoning=output // 3 if dice.random() < 0.1 else 0,
    )

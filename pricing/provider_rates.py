"""The providers' own USD rates, from the price list that the package genai-prices ships. Read offline, never fetched.

A price list of others is never taken over blindly: it may match another model than ours, or be wrong for a day. So no
rate goes from a positive value to 0, none leaves 0, and a large step needs somebody's word.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone

from pricing.models import LARGEST_USD

# Our column: what genai-prices calls it.
NAMES = {
    "provider_input_usd_per_mtok": "input_mtok",
    "provider_cached_input_usd_per_mtok": "cache_read_mtok",
    "provider_cache_write_usd_per_mtok": "cache_write_mtok",
    "provider_output_usd_per_mtok": "output_mtok",
}
LARGE_FACTOR = 3
_PLACES = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class FoundRates:
    """What the list has for one of our models. `source`: its own name of it. Rates that it lacks are left out."""

    source: str
    rates: dict[str, Decimal]
    is_tiered: bool


def find_rates(*, provider: str, provider_model: str, at: datetime | None = None) -> FoundRates | None:
    """The list's rates for a model of one of our providers, or None.

    Of a price that depends on a prompt's length it is the one of short prompts, of one that depends on the hour the one
    of noon (UTC).
    """
    found = _find(provider, provider_model)
    if found is None:
        return None
    vendor, model = found
    noon = datetime.combine((at or timezone.now()).date(), time(12), tzinfo=UTC)
    prices: Any = model.get_prices(noon)
    named = {ours: getattr(prices, theirs, None) for ours, theirs in NAMES.items()}
    # A tiered price has its lowest tier as `base`.
    tiered = any(hasattr(price, "base") for price in named.values())
    rates = {ours: getattr(price, "base", price) for ours, price in named.items() if price is not None}
    return FoundRates(f"{vendor.id}/{model.id}", rates, tiered)


def refusal(old: Decimal | None, new: Decimal, *, confirm_large: bool) -> str | None:
    """Why this rate is not taken over, or None."""
    if not new.is_finite() or not 0 <= new <= LARGEST_USD or new != new.quantize(_PLACES):
        return "no rate of at most 12 digits before and 8 after the point"
    if new == 0:
        return "the list says 0"
    if old == 0:
        return "0 here: who set that by hand knows why"
    if old is None or confirm_large:
        return None
    if new > old * LARGE_FACTOR or new * LARGE_FACTOR < old:
        return f"more than ×{LARGE_FACTOR} {'up' if new > old else 'down'}: look, then --confirm-large"
    return None


def _find(provider: str, provider_model: str) -> tuple[Any, Any] | None:
    """By our provider's name, then by its address; by the model alone only for `default`, which may be a gateway.

    A provider with a name of its own that the list does not know may serve a model of somebody else's at its own price.
    """
    address = _address(provider)
    wanted: list[dict[str, str]] = [] if provider == "default" else [{"provider_id": provider}]
    if address:
        wanted.append({"provider_api_url": address})
    if provider == "default":
        vendor, _, model = provider_model.partition("/")
        if model:
            wanted.append({"provider_id": vendor, "model_ref": model})
        wanted.append({})
    for one in wanted:
        found = _look_up(**{"model_ref": provider_model, **one})
        if found is not None:
            return found
    return None


def _look_up(
    *, model_ref: str, provider_id: str | None = None, provider_api_url: str | None = None
) -> tuple[Any, Any] | None:
    # Half a second and some megabytes that only an import needs.
    from genai_prices.data_snapshot import get_snapshot

    shipped: Any = get_snapshot()
    try:
        found: tuple[Any, Any] = shipped.find_provider_model(model_ref, None, provider_id, provider_api_url)
    except LookupError:
        return None
    return found


def _address(provider: str) -> str:
    if provider == "default":
        return str(settings.LLM_BASE_URL or "")
    return str(settings.LLM_PROVIDERS.get(provider, {}).get("base_url", ""))

"""Price books of the past: every revision on record can be served again, exactly as it was."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pricing.models import USD_RATES, PricingRevision
from pricing.price_book import ModelPrice, PriceBook
from pricing.rating import Weights


class UnknownPriceRevision(LookupError):
    """This pair of version and revision is not on record."""


def book_at(pricing_version: str, revision: int) -> PriceBook:
    """The price book of one version as it was from one revision on. One indexed read.

    Raises: UnknownPriceRevision.
    """
    rows = PricingRevision.objects.filter(pricing_version=pricing_version, revision=revision)
    snapshot = rows.values_list("snapshot", flat=True).first()
    if snapshot is None:
        raise UnknownPriceRevision(f"price version {pricing_version} has no revision {revision} on record")
    return book_of(snapshot)


def book_of(snapshot: Mapping[str, Any]) -> PriceBook:
    """Build a book from a recorded snapshot, in which every number is text. Pure."""
    weights = Weights(**{pool: Decimal(text) for pool, text in snapshot["weights"].items()})
    return PriceBook.of(
        pricing_version=snapshot["pricing_version"],
        revision=snapshot["revision"],
        weights=weights,
        models=[_price(row) for row in snapshot["models"]],
        # Revisions that were recorded before tools could have a price name none.
        tools={name: Decimal(text) for name, text in snapshot.get("tools", {}).items()},
    )


def _price(row: Mapping[str, str | None]) -> ModelPrice:
    usd = {name: None if (text := row.get(name)) is None else Decimal(text) for name in USD_RATES}
    return ModelPrice(
        model_alias=str(row["model_alias"]),
        multiplier=Decimal(str(row["multiplier"])),
        provider=str(row["provider"]),
        provider_model=str(row["provider_model"]),
        context_tokens=int(str(row["context_tokens"])),
        fallback_alias=row["fallback_alias"],
        **usd,
    )

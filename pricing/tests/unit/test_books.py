"""Price books from recorded snapshots, and what of them is shown to users. No database."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from decimal import Decimal

import pytest

from pricing.catalog import callable_models
from pricing.history import book_of
from pricing.price_book import ModelPrice
from pricing.providers import configured_provider_names
from pricing.rating import Weights

WEIGHTS = {
    "input_fresh": "0.3500",
    "input_cache_write": "0.4375",
    "input_cached": "0.1000",
    "output": "1.0000",
    "divisor": "10000.0000",
}
NO_USD = {f"provider_{pool}_usd_per_mtok": None for pool in ("input", "cached_input", "cache_write", "output")}


def row(model_alias: str, multiplier: str, **fields: str | None) -> dict[str, str | None]:
    return {
        "model_alias": model_alias,
        "multiplier": multiplier,
        "provider": "default",
        "provider_model": f"{model_alias}-at-provider",
        "context_tokens": "128000",
        "fallback_alias": None,
        **NO_USD,
        **fields,
    }


def snapshot(*models: dict[str, str | None]) -> dict[str, object]:
    return {"pricing_version": "v1", "revision": 4, "status": "active", "weights": WEIGHTS, "models": list(models)}


def test_a_book_is_what_the_snapshot_says_to_the_last_place():
    book = book_of(
        snapshot(row("gpt-5", "99999999.9999", fallback_alias="gpt-4", provider_output_usd_per_mtok="0.10000001"))
    )
    assert (book.pricing_version, book.revision) == ("v1", 4)
    assert book.weights == Weights(input_cache_write=Decimal("0.4375"))
    assert book.find("gpt-5") == ModelPrice(
        model_alias="gpt-5",
        multiplier=Decimal("99999999.9999"),
        provider="default",
        provider_model="gpt-5-at-provider",
        context_tokens=128_000,
        fallback_alias="gpt-4",
        provider_output_usd_per_mtok=Decimal("0.10000001"),
    )


def test_aliases_are_exact():
    book = book_of(snapshot(row("gpt-5", "1.0000")))
    for other in ("gpt-5.2", "gpt-", "GPT-5", "gpt-5 ", "", "gpt-5-at-provider"):
        assert book.find(other) is None


def test_a_book_cannot_be_changed():
    book = book_of(snapshot(row("gpt-5", "1.0000")))
    with pytest.raises(TypeError):
        book.models["gpt-5"] = None  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        book.revision = 5  # type: ignore[misc]


def test_a_field_that_an_old_snapshot_does_not_know_is_unknown():
    """A rate that is added to the table later is missing from the records made before."""
    old = row("gpt-5", "1.0000")
    del old["provider_cache_write_usd_per_mtok"]
    price = book_of(snapshot(old)).find("gpt-5")
    assert price is not None
    assert price.provider_cache_write_usd_per_mtok is None


def test_users_see_what_a_thousand_tokens_cost(settings):
    settings.LLM_BASE_URL, settings.LLM_PROVIDERS = "http://127.0.0.1:1/v1", {}
    (listed,) = callable_models(book_of(snapshot(row("gpt-5", "2.0000"))))
    assert asdict(listed) == {
        "model_alias": "gpt-5",
        "multiplier": Decimal(2),
        "context_tokens": 128_000,
        "credits_per_1k_input": Decimal("0.07"),
        "credits_per_1k_cached_input": Decimal("0.02"),
        "credits_per_1k_output": Decimal("0.2"),
        "provider_model": "gpt-5-at-provider",
        "pricing_version": "v1",
    }


@pytest.mark.parametrize(
    ("base_url", "providers", "listed"),
    [
        ("http://127.0.0.1:1/v1", {}, ["a"]),
        ("", {"local": {}}, ["b"]),
        ("http://127.0.0.1:1/v1", {"local": {}, "other": {}}, ["a", "b"]),
        ("", {"default": {}}, ["a"]),
        ("", {}, []),
    ],
)
def test_aliases_without_a_configured_provider_are_left_out(settings, base_url, providers, listed):
    settings.LLM_BASE_URL, settings.LLM_PROVIDERS = base_url, providers
    book = book_of(
        snapshot(row("b", "1.0000", provider="local"), row("a", "1.0000"), row("c", "1.0000", provider="gone"))
    )
    assert [model.model_alias for model in callable_models(book)] == listed
    assert configured_provider_names() == {"default"} & ({"default"} if base_url else set()) | set(providers)

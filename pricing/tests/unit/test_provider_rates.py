"""Rates of the shipped price list: which model they belong to, and which steps are never taken over."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pricing.provider_rates import find_rates, refusal

NOON = datetime(2026, 3, 1, 20, tzinfo=UTC)


def found(provider_model: str, provider: str = "default"):
    return find_rates(provider=provider, provider_model=provider_model, at=NOON)


def test_a_model_is_found_with_exact_decimals():
    rates = found("gpt-4o")
    assert rates.source == "openai/gpt-4o"
    assert rates.rates == {
        "provider_input_usd_per_mtok": Decimal("2.5"),
        "provider_cached_input_usd_per_mtok": Decimal("1.25"),
        "provider_output_usd_per_mtok": Decimal(10),
    }
    assert all(type(rate) is Decimal for rate in rates.rates.values())


def test_a_gateways_names_are_found_by_vendor_and_model():
    assert found("openai/gpt-4o").source == found("gpt-4o-2024-08-06").source == "openai/gpt-4o"
    assert found("anthropic/claude-haiku-4-5").source == "anthropic/claude-haiku-4-5"


def test_a_price_that_depends_on_length_is_that_of_short_prompts():
    rates = found("gemini-2.5-pro")
    assert rates.is_tiered
    assert rates.rates["provider_input_usd_per_mtok"] == Decimal("1.25")


def test_what_the_list_does_not_know_is_not_found():
    for model in ("smollm2-135m", "my/gpt-4o", "", "x" * 255):
        assert found(model) is None


def test_a_named_provider_is_looked_up_by_name_and_address_and_never_by_the_model_alone(settings):
    settings.LLM_PROVIDERS = {
        "openai": {"base_url": "http://127.0.0.1:9/v1"},
        "mine": {"base_url": "https://api.openai.com/v1"},
        "local": {"base_url": "http://127.0.0.1:9/v1"},
    }
    assert found("gpt-4o", "openai").source == "openai/gpt-4o"
    assert found("gpt-4o", "mine").source == "openai/gpt-4o"
    # A model of somebody's own, which happens to have that name.
    assert found("gpt-4o", "local") is None


@pytest.mark.parametrize(
    ("old", "new", "plain", "confirmed"),
    [
        ("2", "6", True, True),
        ("2", "6.00000001", False, True),
        ("6", "2", True, True),
        ("6", "1.99999999", False, True),
        ("2", "2000", False, True),
        ("2", "0", False, False),
        ("0", "2", False, False),
        ("0", "0", False, False),
        (None, "2", True, True),
        (None, "0", False, False),
        ("2", "-1", False, False),
        ("2", "NaN", False, False),
        ("2", "Infinity", False, False),
        ("2", "2.000000001", False, False),
        ("2", "1e400", False, False),
    ],
)
def test_steps_that_are_taken_and_those_that_are_not(old, new, plain, confirmed):
    before = None if old is None else Decimal(old)
    assert (refusal(before, Decimal(new), confirm_large=False) is None) is plain
    assert (refusal(before, Decimal(new), confirm_large=True) is None) is confirmed

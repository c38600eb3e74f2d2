"""What tokens cost, to the last place."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.rating import TokenPools, Weights, affordable_output_tokens, bound, rate

WEIGHTS = Weights()


def rated(pools: TokenPools, multiplier: str, weights: Weights = WEIGHTS) -> tuple[str, str, str]:
    """OE tokens, the event's credits, the ledger's: as text, so that the places count too."""
    result = rate(pools, multiplier=Decimal(multiplier), weights=weights)
    return f"{result.oe_tokens:f}", f"{result.credits_burned:f}", f"{result.credits_charged:f}"


def test_120_fresh_40_cached_80_output_at_2():
    pools = TokenPools(input_fresh=120, input_cached=40, output=80)
    assert rated(pools, "2.0") == ("126.0000", "0.0252", "0.02520000")


def test_the_ledger_keeps_8_places_where_the_event_shows_4():
    pools = TokenPools(input_fresh=7, input_cached=3, output=1)
    assert rated(pools, "0.5") == ("3.7500", "0.0002", "0.00018750")


def test_a_call_that_shows_nothing_is_charged_all_the_same():
    assert rated(TokenPools(input_cached=1), "0.1") == ("0.1000", "0.0000", "0.00000100")


@pytest.mark.parametrize(("output", "event", "ledger"), [(0, "5.5094", "5.50945000"), (1000, "5.7094", "5.70945000")])
def test_cached_tokens_are_billed_once(output, event, ledger):
    """262,960 tokens of input, 257,955 of them cached: 0.35 × 5,005 + 0.10 × 257,955 + output."""
    oe = Decimal("0.35") * 5_005 + Decimal("0.10") * 257_955 + output
    result = rated(TokenPools(input_fresh=5_005, input_cached=257_955, output=output), "2.0")
    assert result == (f"{oe:.4f}", event, ledger)


def test_cache_writes_count_as_the_version_says():
    weights = Weights(input_cache_write=Decimal("0.4375"))
    assert rated(TokenPools(input_cache_write=16), "1", weights) == ("7.0000", "0.0007", "0.00070000")


def test_reasoning_is_part_of_the_output():
    assert rated(TokenPools(output=28, reasoning=18), "1") == ("28.0000", "0.0028", "0.00280000")


@pytest.mark.parametrize(("output", "event"), [(1, "0.0000"), (3, "0.0002"), (5, "0.0002"), (7, "0.0004")])
def test_ties_of_the_event_go_to_the_even_side(output, event):
    """0.00005, 0.00015, 0.00025, 0.00035."""
    assert rated(TokenPools(output=output), "0.5")[1] == event


@pytest.mark.parametrize(
    ("multiplier", "ledger"),
    [("0.0005", "0.00000000"), ("0.0015", "0.00000002"), ("0.0025", "0.00000002"), ("0.0035", "0.00000004")],
)
def test_ties_of_the_ledger_go_to_the_even_side(multiplier, ledger):
    """0.1 OE tokens: 0.000000005, 0.000000015, 0.000000025, 0.000000035."""
    assert rated(TokenPools(input_cached=1), multiplier)[2] == ledger


def test_both_roundings_start_from_the_exact_product():
    """0.00005 and a little: from the ledger's 8 places (0.00005000) it would be a tie and vanish."""
    weights = Weights(divisor=Decimal("9999.9999"))
    assert rated(TokenPools(output=1), "0.5", weights)[1:] == ("0.0001", "0.00005000")


def test_a_free_alias_costs_nothing():
    assert rated(TokenPools(input_fresh=10**9, output=10**9), "0") == ("1350000000.0000", "0.0000", "0.00000000")


def test_nothing_is_in_a_pool_until_it_is_put_there():
    assert TokenPools() == TokenPools(input_fresh=0, input_cached=0, input_cache_write=0, output=0, reasoning=0)
    assert TokenPools(input_fresh=1, input_cached=20, input_cache_write=300, output=4_000, reasoning=50).total == 4_321


@pytest.mark.parametrize(("credits", "affordable"), [("0.00034999", -1), ("0.00035", 0), ("0.00045", 1)])
def test_credits_for_exactly_the_input_are_enough_for_no_output(credits, affordable):
    found = affordable_output_tokens(
        credits=Decimal(credits), input_tokens=10, multiplier=Decimal(1), weights=Weights()
    )
    assert found == affordable


def test_ten_thousand_output_tokens_are_a_credit_by_default():
    assert Weights().divisor == 10_000
    assert rated(TokenPools(output=10_000), "1") == ("10000.0000", "1.0000", "1.00000000")


tokens = st.integers(0, 10**9)
weight = st.decimals(0, "999999.9999", places=4)
weights = st.builds(
    Weights,
    input_fresh=weight,
    input_cache_write=weight,
    input_cached=weight,
    output=weight,
    divisor=st.decimals("0.0001", "99999999999999.9999", places=4),
)
usual_weights = st.one_of(st.just(WEIGHTS), weights)
multipliers = st.decimals(0, "99999999.9999", places=4)


@settings(deadline=None)
@given(
    fresh=tokens,
    cached=tokens,
    written=tokens,
    output=tokens,
    spare=tokens,
    multiplier=multipliers,
    weights=usual_weights,
)
def test_no_call_within_its_sizes_costs_more_than_its_bound(fresh, cached, written, output, spare, multiplier, weights):
    pools = TokenPools(input_fresh=fresh, input_cached=cached, input_cache_write=written, output=output)
    most = bound(
        input_tokens=fresh + cached + written + spare,
        output_tokens=output + spare,
        multiplier=multiplier,
        weights=weights,
    )
    result = rate(pools, multiplier=multiplier, weights=weights)
    assert 0 <= result.credits_charged <= most
    assert result.credits_burned >= 0
    assert result.oe_tokens >= 0


@settings(deadline=None)
@given(
    credits=st.decimals(0, "9999999999.99999999", places=8),
    input_tokens=tokens,
    multiplier=multipliers,
    weights=usual_weights,
)
def test_the_affordable_output_is_the_largest_whose_bound_fits(credits, input_tokens, multiplier, weights):
    affordable = affordable_output_tokens(
        credits=credits, input_tokens=input_tokens, multiplier=multiplier, weights=weights
    )

    def costs(output_tokens: int) -> Decimal:
        return bound(input_tokens=input_tokens, output_tokens=output_tokens, multiplier=multiplier, weights=weights)

    if affordable is None:
        assert multiplier == 0 or weights.output == 0
    elif affordable < 0:
        assert affordable == -1
        assert costs(0) > credits
    else:
        assert costs(affordable) <= credits < costs(affordable + 1)

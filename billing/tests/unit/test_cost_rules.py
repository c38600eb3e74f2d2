"""What is odd about an alias's day, rule by rule."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing.cost_rules import DRIFT_LEAST_CALLS, AliasDay, Limits, Odd, credits_per_usd, judge

NO_VALUE = Limits(credit_usd_value=None, drift_percent=50)
CENT = Limits(credit_usd_value=Decimal("0.01"), drift_percent=50)
USUAL = [Decimal(90), Decimal(100), Decimal(110)]


def a_day(**fields):
    """A hundred calls that cost 1 USD and were charged 100 credits."""
    values = {
        "provider": "default", "model_alias": "gpt-4o", "calls": 100, "credits_charged": Decimal(100),
        "credits_with_cost": Decimal(100), "provider_cost_usd": Decimal(1), "calls_without_cost": 0,
    }  # fmt: skip
    return AliasDay(**values | fields)


def found(day, *, rates_before=(), limits=NO_VALUE):
    return judge(day, rates_before=rates_before, limits=limits)


def test_a_day_that_pays_for_itself_is_not_odd():
    assert found(a_day(), rates_before=USUAL, limits=CENT) == []


def test_billed_calls_of_unknown_cost_are_named_with_their_credits():
    day = a_day(calls_without_cost=3, billed_without_cost=2, credits_charged=Decimal("100.5"))
    assert found(day) == [Odd("cost_unknown", "2 calls charged 0.50000000 credits; their cost is not known")]


def test_calls_of_unknown_cost_that_nobody_paid_for_are_not_odd():
    assert found(a_day(calls_without_cost=3)) == []


def test_a_cost_of_zero_is_known():
    free = a_day(provider_cost_usd=Decimal(0))
    assert found(free, rates_before=USUAL, limits=CENT) == []


def test_calls_that_cost_and_were_not_charged_are_counted_by_how_they_ended():
    day = a_day(unpaid={"success": 2, "error": 1}, unpaid_usd=Decimal("0.25"))
    detail = "calls that cost 0.25000000 USD and no credits: error: 1, success: 2"
    assert found(day) == [Odd("cost_without_credits", detail)]


@pytest.mark.parametrize(
    ("credits", "is_below"), [("100.00000000", False), ("99.99999999", True), ("0", True), ("100.00000001", False)]
)
def test_a_day_is_below_its_cost_where_its_credits_are_worth_less(credits, is_below):
    day = a_day(credits_with_cost=Decimal(credits), credits_charged=Decimal(credits))
    assert ("below_cost" in {odd.kind for odd in found(day, limits=CENT)}) == is_below
    assert found(day, limits=NO_VALUE) == []


def test_what_calls_of_unknown_cost_were_charged_does_not_pay_for_the_others():
    day = a_day(credits_charged=Decimal(1000), credits_with_cost=Decimal(50), calls_without_cost=10)
    assert found(day, limits=CENT) == [Odd("below_cost", "worth 0.50000000 USD, cost 1.00000000 USD")]


@pytest.mark.parametrize(("credits", "drifts"), [("150", False), ("150.00000001", True), ("50", False), ("49.9", True)])
def test_a_rate_drifts_when_it_leaves_the_median_by_more_than_the_percentage(credits, drifts):
    day = a_day(credits_with_cost=Decimal(credits))
    assert [odd.kind for odd in found(day, rates_before=USUAL)] == ["drift"] * drifts


def test_the_detail_of_a_drift_has_both_rates():
    (odd,) = found(a_day(credits_with_cost=Decimal(10)), rates_before=[*USUAL, Decimal(120)])
    assert odd == Odd("drift", "10.0000 credits a USD; the median of the days before is 105.0000")


def test_two_days_are_no_median_and_few_calls_no_rate():
    assert found(a_day(credits_with_cost=Decimal(1)), rates_before=USUAL[:2]) == []
    few = a_day(calls=DRIFT_LEAST_CALLS, calls_without_cost=1, credits_with_cost=Decimal(1))
    assert found(few, rates_before=USUAL) == []


def test_what_was_free_and_is_charged_for_has_drifted():
    free = [Decimal(0)] * 3
    assert [odd.kind for odd in found(a_day(), rates_before=free)] == ["drift"]
    assert found(a_day(credits_with_cost=Decimal(0), credits_charged=Decimal(0)), rates_before=free) == []


def test_there_is_no_rate_without_a_cost():
    assert credits_per_usd(credits=Decimal(5), usd=Decimal(0), calls=1000) is None
    assert credits_per_usd(credits=Decimal(5), usd=Decimal(2), calls=DRIFT_LEAST_CALLS) == Decimal("2.5")

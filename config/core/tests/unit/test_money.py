from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.core.money import ledger, ledger_text, ledger_up, parse_credits, usage, usage_text

EXACT_PRODUCTS = st.decimals(min_value=Decimal("-1e17"), max_value=Decimal("1e17"), places=16)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        ("0.000000005", "0.00000000"),
        ("0.000000015", "0.00000002"),
        ("0.000000025", "0.00000002"),
        ("0.0000000250000000000000000000000000001", "0.00000003"),
        ("-0.000000015", "-0.00000002"),
        ("0.02520000", "0.02520000"),
        ("1e-30", "0.00000000"),
        ("9999999999.999999994", "9999999999.99999999"),
    ],
)
def test_the_ledger_rounds_half_even_at_8_places(value: str, rounded: str) -> None:
    assert format(ledger(Decimal(value)), "f") == rounded


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        ("0.00005", "0.0000"),
        ("0.00015", "0.0002"),
        ("0.00025", "0.0002"),
        ("0.00006175", "0.0001"),
        ("126", "126.0000"),
    ],
)
def test_usage_rounds_half_even_at_4_places(value: str, rounded: str) -> None:
    assert format(usage(Decimal(value)), "f") == rounded


@pytest.mark.parametrize(
    ("value", "rounded"),
    [("0.000000001", "0.00000001"), ("1", "1.00000000"), ("0.123456781", "0.12345679"), ("0", "0.00000000")],
)
def test_a_bound_is_rounded_up(value: str, rounded: str) -> None:
    assert format(ledger_up(Decimal(value)), "f") == rounded


@given(EXACT_PRODUCTS)
def test_rounding_moves_a_value_by_at_most_half_a_place_and_twice_changes_nothing(value: Decimal) -> None:
    assert abs(ledger(value) - value) <= Decimal("0.000000005")
    assert ledger(ledger(value)) == ledger(value)
    assert 0 <= ledger_up(value) - value < Decimal("0.00000001")


@given(EXACT_PRODUCTS)
def test_what_is_written_has_fixed_places_and_no_exponent(value: Decimal) -> None:
    assert len(ledger_text(value).partition(".")[2]) == 8
    assert len(usage_text(value).partition(".")[2]) == 4
    assert "E" not in ledger_text(value) + usage_text(value)
    assert Decimal(ledger_text(value)) == ledger(value)


def test_small_and_zero_values_are_written_out() -> None:
    assert ledger_text(Decimal("1e-8")) == "0.00000001"
    assert ledger_text(Decimal("0E-8")) == "0.00000000"
    assert ledger_text(Decimal("12.345")) == "12.34500000"
    assert usage_text(Decimal("0.00617")) == "0.0062"


def test_zero_has_no_sign() -> None:
    assert ledger_text(Decimal("-0.000000001")) == ledger_text(Decimal("-0")) == "0.00000000"
    assert usage_text(Decimal("-0.00001")) == "0.0000"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("12.345", "12.345"),
        ("+5", "5"),
        ("-0.00000001", "-0.00000001"),
        ("9999999999.99999999", "9999999999.99999999"),
        ("0000000001.10", "1.1"),
    ],
)
def test_decimal_strings_within_the_ledger_are_read(text: str, value: str) -> None:
    assert parse_credits(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1 ", " 1", "1\n", ".5", "5.", "1e3", "1E-2", "NaN", "sNaN", "Infinity", "-inf", "0x10", "1_000"),
        *("1,5", "10000000000", "0.000000001", "--1", "+-1", "\u0661", "\uff11", "1\x00", "1" * 10_000),
        *(5, 5.0, True, None, [], {}, Decimal(5), b"5"),
    ],
)
def test_anything_else_is_not_credits(text: object) -> None:
    assert parse_credits(text) is None


@given(st.decimals(min_value=Decimal("-9999999999.99999999"), max_value=Decimal("9999999999.99999999"), places=8))
def test_what_the_ledger_writes_it_reads(value: Decimal) -> None:
    assert parse_credits(ledger_text(value)) == value

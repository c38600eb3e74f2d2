"""Multipliers and USD rates as they come in: exact, or refused."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.fields import parse_decimal


def multiplier(data: object) -> Decimal | None:
    return parse_decimal(data, digits=8, places=4)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("2", "2.0000"),
        ("2.5", "2.5000"),
        ("0", "0.0000"),
        ("0.0001", "0.0001"),
        ("99999999.9999", "99999999.9999"),
        (0.8, "0.8000"),
        (1.1, "1.1000"),
        (99999999.9999, "99999999.9999"),
        (0.0001, "0.0001"),
        (2, "2.0000"),
        (0, "0.0000"),
        (-0.0, "0.0000"),
        (1000.0, "1000.0000"),
        (json.loads("0.8"), "0.8000"),
    ],
)
def test_what_is_exact_is_taken(data, text):
    assert str(multiplier(data)) == text


@pytest.mark.parametrize(
    "data",
    [
        *("-1", "-0.5", "NaN", "nan", "sNaN", "Infinity", "-inf", "1e400", "1e-5", "1e3", "1E3", "+1", "-0"),
        *(
            "",
            " ",
            " 1",
            "1 ",
            "1\n",
            "1.",
            ".5",
            "1.00000",
            "0.00001",
            "100000000",
            "1,5",
            "1_0",
            "0x10",
            "٣",
            "1.2.3",
        ),
        *(-1, -0.5, 0.00001, 1.00001, 1e-5, 100000000, 1e8, 1e22, 1e400, -1e400, float("nan"), 10**4000, 1e-320),
        *(True, False, None, [], {}, [1], {"multiplier": 1}, b"1", 1j),
        *("1" * 100_000, "\x001", "1\ud800"),
    ],
)
def test_what_is_not_is_refused(data):
    assert multiplier(data) is None


@settings(deadline=None)
@given(st.decimals(0, "99999999.9999", places=4))
def test_text_and_json_number_of_a_multiplier_mean_the_same(value):
    written = format(value, "f")
    assert multiplier(written) == multiplier(json.loads(written)) == value


def test_usd_has_8_places():
    assert f"{parse_decimal(1e-07, digits=12, places=8):f}" == "0.00000010"
    assert f"{parse_decimal('999999999999.99999999', digits=12, places=8):f}" == "999999999999.99999999"
    assert parse_decimal("0.000000001", digits=12, places=8) is None
    assert parse_decimal("1000000000000", digits=12, places=8) is None

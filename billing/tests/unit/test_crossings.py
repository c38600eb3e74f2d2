"""Which lines lie between two balances."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing.alerts.crossings import crossed


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ("10", "5", []),
        ("5", "4.99999999", ["low_balance"]),
        ("5", "5", []),
        ("4.99999999", "1", []),
        ("6", "0", ["low_balance", "balance_empty"]),
        ("1", "0", ["balance_empty"]),
        ("0.00000001", "-3", ["balance_empty"]),
        ("0", "-1", []),
        ("-1", "-2", []),
        # What rises recovers.
        ("0", "25", []),
        ("4", "6", []),
        ("-1", "0", []),
    ],
)
def test_a_line_is_crossed_downwards_and_once(before, after, kinds):
    assert crossed(Decimal(before), Decimal(after), threshold=Decimal(5)) == kinds


def test_with_a_threshold_of_zero_only_an_overdraft_is_low():
    assert crossed(Decimal(1), Decimal(0), threshold=Decimal(0)) == ["balance_empty"]
    assert crossed(Decimal(1), Decimal(-1), threshold=Decimal(0)) == ["low_balance", "balance_empty"]

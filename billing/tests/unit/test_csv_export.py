"""Cells of a CSV: text that a spreadsheet would calculate is marked as text, numbers stay numbers."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from billing.csv_export import csv_text


def cell(value):
    [[first, second]] = csv.reader(io.StringIO(csv_text([[value, "next"]]), newline=""))
    assert second == "next"
    return first


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1+2", "@sum", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff201", " =1",
        "\u00a0=1", "\u3000\uff1d1", "-", "--1", "-1.", "-1.2.3", "-\u0663", "+1.5", "-1e5", '=HYPERLINK("x")', "=a,b",
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_calculate_is_marked_as_text(text):
    assert cell(text) == "'" + text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("-1.25000000"), "-1.25000000"), (-3, "-3"), ("-0.5", "-0.5"), (Decimal(0), "0"), (None, ""), ("", ""),
        ("alice@example.com", "alice@example.com"), ("1-2", "1-2"), (" - ", "' - "), ("50.0 %", "50.0 %"),
    ],
)  # fmt: skip
def test_numbers_stay_numbers_and_text_stays_text(value, shown):
    assert cell(value) == shown

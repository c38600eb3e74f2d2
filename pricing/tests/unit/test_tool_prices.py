"""What a tool call costs. No database."""

from __future__ import annotations

from decimal import Decimal

import pytest

from config.core.money import ZERO
from pricing.history import book_of
from pricing.rating import LARGEST_CHARGE, RatedTool, rate_tool
from pricing.tests.unit.test_books import snapshot

FREE = RatedTool(Decimal("0.0000"), Decimal("0.00000000"))


@pytest.mark.parametrize(
    ("price", "burned", "charged"),
    [
        ("0.01", "0.0100", "0.01000000"),
        ("0.00005", "0.0000", "0.00005000"),
        ("0.00015", "0.0002", "0.00015000"),
        ("0.00000001", "0.0000", "0.00000001"),
        ("0", "0.0000", "0.00000000"),
        (str(LARGEST_CHARGE), "1000000.0000", "1000000.00000000"),
    ],
)
def test_a_call_that_succeeded_costs_its_price_half_even_at_both_precisions(price, burned, charged):
    rated = rate_tool(status="success", credits_per_call=Decimal(price))
    assert (f"{rated.credits_burned:f}", f"{rated.credits_charged:f}") == (burned, charged)


@pytest.mark.parametrize("status", ["cached", "refused", "error", "timeout", "cancelled", "", "SUCCESS"])
def test_every_other_call_costs_nothing(status):
    assert rate_tool(status=status, credits_per_call=Decimal("0.01")) == FREE


def test_a_book_knows_the_price_of_each_tool_that_its_version_names_and_no_other():
    book = book_of({**snapshot(), "tools": {"search": "0.01000000", "file_read": "0.00000001"}})
    assert list(book.tools.items()) == [("file_read", Decimal("0.00000001")), ("search", Decimal("0.01000000"))]
    assert [book.tool_price(name) for name in ("search", "Search", "file_search")] == [Decimal("0.01"), ZERO, ZERO]


def test_a_snapshot_from_before_tools_had_prices_names_none():
    assert dict(book_of(snapshot()).tools) == {}


def test_prices_of_a_book_cannot_be_changed():
    book = book_of({**snapshot(), "tools": {"search": "0.01000000"}})
    with pytest.raises(TypeError):
        book.tools["search"] = ZERO

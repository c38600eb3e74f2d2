"""What a version would have charged, call by call: exact numbers, and the same arithmetic that bills."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.simulating.history import PastCall
from billing.simulating.tally import Coverage, Tally
from config.core.money import EXACT, ZERO
from pricing.price_book import ModelPrice, PriceBook
from pricing.rating import TokenPools, Weights, rate

ALICE, BOB = "alice", "bob"
counts = st.integers(0, 10**6)


def book(*, weights: Weights = Weights(), tools: dict[str, Decimal] | None = None, **multipliers: str) -> PriceBook:
    models = [ModelPrice(alias, Decimal(text), "default", alias, 1000) for alias, text in multipliers.items()]
    return PriceBook.of(pricing_version="next", revision=1, weights=weights, models=models, tools=tools or {})


def call(work: str, charged: str, *, before: str | None = "10", user: str = ALICE, alias: str = "mini", output=10_000):
    balance = None if before is None else Decimal(before)
    return PastCall(work, user, alias, TokenPools(output=output), Decimal(charged), balance)


def tally(prices: PriceBook, *calls: PastCall) -> Tally:
    found = Tally(prices)
    for one in calls:
        found.add(one)
    found.finish()
    return found


def test_each_call_is_priced_and_summed_by_alias_and_user():
    found = tally(
        book(mini="1.5", large="2"),
        call("t1", "1"),
        call("t1", "4", alias="large", output=20_000),
        call("t2", "1", user=BOB),
    )
    totals = found.totals
    assert (totals.calls, totals.credits_charged, totals.credits_under_version) == (3, 6, 7)
    assert (totals.difference, totals.percent) == (1, Decimal("16.67"))
    assert found.by_alias["mini"].percent == 50
    assert (found.by_alias["large"].difference, found.by_alias["large"].percent) == (0, 0)
    assert (found.by_user[ALICE].difference, found.by_user[BOB].difference) == (Decimal("0.5"), Decimal("0.5"))


def test_what_was_free_has_no_per_cent():
    found = tally(book(mini="1"), call("t1", "0", before=None))
    assert (found.totals.difference, found.totals.percent) == (1, None)


def test_a_call_without_a_price_is_told_apart_and_compared_with_nothing():
    found = tally(book(mini="1"), call("t1", "1"), call("t1", "7", alias="gone"), call("t2", "3", alias="gone"))
    assert (found.totals.calls, found.totals.credits_charged, found.totals.difference) == (1, 1, 0)
    gone = found.without_price["gone"]
    assert (gone.calls, gone.credits_charged) == (2, 10)
    assert found.coverage == Coverage(pieces_of_work=2, without_price=2)


def test_calls_of_tools_are_priced_by_the_call_where_they_cost_something_in_either():
    def used(tool, charged, before="10"):
        return PastCall("t1", ALICE, "", TokenPools(), Decimal(charged), before and Decimal(before), tool)

    prices = book(mini="1", tools={"search": Decimal("0.5")})
    found = tally(
        prices, call("t1", "1"), used("search", "0.2"), used("search", "0", None), used("file_read", "0", None)
    )
    assert sorted(found.by_alias) == ["mini", "tool search"]
    search = found.by_alias["tool search"]
    assert (search.calls, search.credits_charged, search.credits_under_version) == (2, Decimal("0.2"), 1)
    assert (found.totals.credits_charged, found.totals.credits_under_version) == (Decimal("1.2"), 2)


def test_work_that_the_wallet_would_not_have_covered_is_counted():
    """By what the wallet held before the first debit; 2 calls of 1 credit each, at twice the price."""
    dearer = book(mini="2")
    cases = {
        "4": Coverage(1),
        "3.99999999": Coverage(1, not_covered=1, newly_not_covered=1),
        "2": Coverage(1, not_covered=1, newly_not_covered=1),
        "1.99999999": Coverage(1, not_covered_as_billed=1, not_covered=1),
        "-5": Coverage(1, not_covered_as_billed=1, not_covered=1),
    }
    for before, expected in cases.items():
        after = str(Decimal(before) - 1)
        found = tally(dearer, call("t1", "1", before=before), call("t1", "1", before=after))
        assert found.coverage == expected, before


def test_work_that_was_free_is_judged_only_where_it_would_be_so_still():
    free, paid = call("t1", "0", before=None), call("t2", "0", before=None, alias="large")
    assert tally(book(mini="0", large="1"), free, paid).coverage == Coverage(2, not_judged=1)


def test_cheaper_prices_cover_what_was_not():
    found = tally(book(mini="0.5"), call("t1", "1", before="0.6"))
    assert found.coverage == Coverage(1, not_covered_as_billed=1)


def test_nothing_to_price_is_nothing():
    found = tally(book(mini="1"))
    assert (found.totals.calls, found.totals.percent, found.coverage) == (0, None, Coverage())


def test_a_slip_in_a_draft_is_summed_to_the_last_place():
    weights = Weights(divisor=Decimal("0.0003"))
    slip = book(mini="99999999.9999", weights=weights)
    calls = [call(f"t{number}", "0", before=None, output=1_000_001) for number in range(1000)]
    one = rate(calls[0].pools, multiplier=Decimal("99999999.9999"), weights=weights).credits_charged
    assert one == Decimal("333333666666333333.00000000")
    assert tally(slip, *calls).totals.credits_under_version == EXACT.multiply(one, Decimal(1000))


@given(
    pools=st.lists(st.tuples(counts, counts, counts, counts), min_size=1, max_size=4),
    multiplier=st.integers(0, 10**6).map(lambda n: Decimal(n).scaleb(-4)),
)
def test_the_sum_is_that_of_the_debits_that_billing_would_make(pools, multiplier):
    weights = Weights(output=Decimal("1.3333"), divisor=Decimal("9999.9999"))
    prices = book(mini=str(multiplier), weights=weights)
    calls = [PastCall("t1", ALICE, "mini", TokenPools(*one), ZERO, None) for one in pools]
    expected = sum((rate(one.pools, multiplier=multiplier, weights=weights).credits_charged for one in calls), ZERO)
    assert tally(prices, *calls).totals.credits_under_version == expected

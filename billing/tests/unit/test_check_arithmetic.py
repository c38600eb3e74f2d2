"""The check computes for itself what the ledger computes: by other code, to the same bytes and the same numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invariants.chain import canonical_text
from billing.invariants.events import tariff_of
from billing.invariants.findings import MOST_PER_WALLET, Findings
from billing.invariants.reading import credits_text, units
from billing.ledger.chain import canonical
from billing.ledger.states import Entry
from config.core.ids import uuid7
from config.core.money import ledger_text, usage_text
from pricing.rating import TokenPools, Weights, rate

ids = st.uuids()
amounts = st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n: Decimal(n).scaleb(-8))
# PostgreSQL's text has no NUL, and what is no character cannot be encoded.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
entries = st.builds(
    Entry, id=ids, wallet_id=ids, user_id=ids, seq=st.integers(1, 2**63 - 1), kind=texts, amount=amounts,
    balance_after=amounts, reference_type=texts, reference_id=st.none() | ids, event_id=st.none() | ids,
    grant_id=st.none() | ids, idempotency_key=st.none() | texts, reason=texts, initiated_by=texts,
    created_at=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),
)  # fmt: skip
fourths = st.integers(0, 10**8).map(lambda n: Decimal(n).scaleb(-4))
counts = st.integers(0, 10**7)


def as_row(entry):
    """As PostgreSQL hands it over: each column as its text."""
    text = {name: None if (value := getattr(entry, name)) is None else str(value) for name in Entry.__slots__}
    return (
        text["wallet_id"], text["seq"], text["id"], ledger_text(entry.amount), ledger_text(entry.balance_after),
        entry.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), text["event_id"], text["grant_id"],
        text["idempotency_key"], text["initiated_by"], text["kind"], text["reason"], text["reference_id"],
        text["reference_type"], text["user_id"], "",
    )  # fmt: skip


@given(entry=entries)
def test_the_checks_canonical_text_is_the_ledgers_byte_for_byte(entry):
    assert canonical_text(as_row(entry)).encode() == canonical(entry)


@given(
    pools=st.builds(TokenPools, counts, counts, counts, counts),
    multiplier=fourths,
    weights=st.builds(Weights, fourths, fourths, fourths, fourths, fourths.filter(bool)),
)
def test_the_checks_whole_numbers_are_the_ratings_decimals(pools, multiplier, weights):
    rated = rate(pools, multiplier=multiplier, weights=weights)
    tariff = tariff_of(multiplier, weights)
    assert tariff.rated(pools.input_fresh, pools.input_cached, pools.input_cache_write, pools.output) == (
        units(usage_text(rated.oe_tokens)),
        units(usage_text(rated.credits_burned)),
        units(ledger_text(rated.credits_charged)),
    )


@pytest.mark.parametrize(("output", "charged"), [(5, 0), (15, 2), (25, 2), (35, 4)])
def test_half_a_place_goes_to_the_even_neighbour(output, charged):
    tariff = tariff_of(Decimal("0.0001"), Weights(divisor=Decimal(100_000)))
    assert tariff.rated(0, 0, 0, output)[2] == charged


def test_numbers_of_more_than_four_places_are_left_to_the_rating():
    assert tariff_of(Decimal("0.00001"), Weights()) is None


@given(value=st.integers(-(10**18), 10**18))
def test_units_and_credits_are_each_others_reverse(value):
    assert units(credits_text(value)) == value


def test_a_wallet_that_is_broken_from_end_to_end_is_not_listed_from_end_to_end():
    found, alice, bob = Findings(), uuid7(), uuid7()
    for seq in range(1_000):
        found.add("L10", alice, None, f"entry {seq}")
    found.add("L10", bob, None, "entry 1")
    assert len(found.listed) == MOST_PER_WALLET + 2
    assert found.listed[MOST_PER_WALLET].detail == "there are more of these, which are not listed"
    assert found.broken == {alice, bob}

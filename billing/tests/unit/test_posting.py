"""The ledger's arithmetic alone: random sequences against a ten-line model. No database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import HoldClosed
from billing.ledger.chain import canonical, entry_hash, seed_hash
from billing.ledger.posting import Posting
from billing.ledger.refundable import Paid
from billing.ledger.settling import _settled_before
from billing.ledger.states import HoldState, Lot, NewLot, Reference, Settlement, WalletState
from config.core.ids import uuid7
from config.core.money import ZERO

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WALLET_ID, USER_ID = uuid7(), uuid7()
REFERENCE = Reference("test", uuid7())


def empty(held=ZERO):
    wallet = WalletState(
        WALLET_ID, USER_ID, ZERO, held, 0, seed_hash(WALLET_ID), next_expiry_at=None, has_scoped_lots=False,
        has_limits=False,
    )  # fmt: skip
    return Posting(wallet=wallet, lots=[], now=NOW)


def credit(posting, amount, **fields):
    lot = NewLot(uuid7(), "promo", amount, **fields)
    return posting.credit(lot, kind="grant", reference=REFERENCE, reason="", initiated_by="test")


def debit(posting, amount):
    return posting.debit(amount, kind="debit", reference=REFERENCE, reason="", initiated_by="test", event_id=uuid7())


amounts = st.integers(1, 10**12).map(lambda n: Decimal(n).scaleb(-8))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("credit"), amounts, st.integers(0, 100), st.sampled_from([None, -1, 1, 30])),
        st.tuples(st.just("debit"), amounts),
        st.tuples(st.just("expire"), st.just(None)),
    ),
    max_size=40,
)


@given(steps=steps, held=st.one_of(st.just(ZERO), amounts))
def test_whatever_happens_sums_lots_and_chain_agree(steps, held):
    posting, model = empty(held), ZERO
    for kind, amount, *rest in steps:
        if kind == "credit":
            priority, days = rest
            expires_at = None if days is None else NOW + timedelta(days=days)
            credit(posting, amount, priority=priority, expires_at=expires_at)
            model += amount
        elif kind == "debit":
            debit(posting, amount)
            model -= amount
        else:
            model += sum(entry.amount for entry in posting.expire())
        assert posting.balance == model
        assert sum(lot.remaining for lot in posting.lots) == max(model, ZERO)
        assert all(lot.remaining >= 0 for lot in posting.lots)
    balance, previous = ZERO, seed_hash(WALLET_ID)
    for seq, entry in enumerate(posting.changes.entries, start=1):
        balance += entry.amount
        assert (entry.seq, entry.balance_after, entry.entry_hash) == (seq, balance, entry_hash(previous, entry))
        previous = entry.entry_hash
    assert posting.last_hash == previous
    allocated = {}
    for allocation in posting.changes.allocations:
        allocated[allocation.grant_id] = allocated.get(allocation.grant_id, ZERO) + allocation.amount
    for lot in posting.changes.lots_made:
        (left,) = [item.remaining for item in posting.lots if item.id == lot.id]
        assert lot.amount - allocated.get(lot.id, ZERO) == left


def test_lots_burn_by_priority_then_expiry_then_age():
    posting = empty()
    one = Decimal(1)
    old = credit(posting, one).grant_id
    late = credit(posting, one, expires_at=NOW + timedelta(days=9)).grant_id
    soon = credit(posting, one, expires_at=NOW + timedelta(days=1)).grant_id
    first = credit(posting, one, priority=0).grant_id
    debit(posting, Decimal("3.5"))
    assert [(a.grant_id, a.amount) for a in posting.changes.allocations] == [
        (first, one), (soon, one), (late, one), (old, Decimal("0.5")),
    ]  # fmt: skip


def test_expiry_takes_only_what_no_hold_reserves():
    posting = empty(held=Decimal(2))
    credit(posting, Decimal(3), expires_at=NOW - timedelta(days=1))
    assert [entry.amount for entry in posting.expire()] == [Decimal(-1)]
    assert posting.expire() == []
    assert posting.available == 0


def test_a_lot_expires_in_the_instant_that_it_names_and_not_before():
    posting = empty()
    credit(posting, Decimal(3), expires_at=NOW + timedelta(microseconds=1))
    credit(posting, Decimal(2), expires_at=NOW)
    assert [entry.amount for entry in posting.expire()] == [Decimal(-2)]
    assert posting.balance == Decimal(3)


def test_the_next_expiry_is_that_of_a_lot_with_something_left():
    posting, soon, later = empty(), NOW + timedelta(days=1), NOW + timedelta(days=2)
    credit(posting, Decimal(1), expires_at=soon)
    credit(posting, Decimal("0.5"), expires_at=later)
    assert posting.next_expiry_at() == soon
    debit(posting, Decimal(1))
    assert posting.next_expiry_at() == later
    debit(posting, Decimal("0.5"))
    assert posting.next_expiry_at() is None


def test_what_is_refunded_can_be_burnt_again_at_once_and_in_the_order_of_lots():
    posting = empty()
    first = credit(posting, Decimal(1), priority=1).grant_id
    second = credit(posting, Decimal(5), priority=2).grant_id
    paid = next(lot for lot in posting.lots if lot.id == first)
    debit(posting, Decimal(2))
    # As it is read again: what was burnt out is no longer among the lots, until a refund fills it.
    posting.lots = [lot for lot in posting.lots if lot.remaining > 0]
    instead = NewLot(uuid7(), "refund", Decimal(2), priority=3)
    posting.refund(
        Decimal(2), reference=REFERENCE, returns=[(posting.lots[0], Decimal("0.5")), (paid, Decimal(1))],
        instead=instead, reason="", initiated_by="test",
    )  # fmt: skip
    assert [(lot.id, lot.remaining) for lot in posting.lots] == [
        (first, Decimal(1)), (second, Decimal("4.5")), (instead.id, Decimal("0.5")),
    ]  # fmt: skip
    assert posting.changes.lots_made[-1].amount == Decimal("0.5")
    # Again, and this time nothing is left over for a lot of its own.
    debit(posting, Decimal(1))
    posting.lots = [lot for lot in posting.lots if lot.remaining > 0]
    posting.refund(
        Decimal(1), reference=REFERENCE, returns=[(paid, Decimal(1)), (posting.lots[0], Decimal(1))], instead=instead,
        reason="", initiated_by="test",
    )  # fmt: skip
    assert [lot.id for lot in posting.lots] == [first, second, instead.id]
    assert sum(lot.remaining for lot in posting.lots) == posting.balance == Decimal(6)


def test_a_lot_takes_a_refund_until_the_instant_of_its_expiry():
    def is_open(expires_at, voided_at=None):
        lot = Lot(uuid7(), ZERO, 50, expires_at, NOW)
        return Paid(lot, Decimal(1), voided_at).is_open(NOW)

    moment = timedelta(microseconds=1)
    assert [is_open(None), is_open(NOW + moment), is_open(NOW), is_open(NOW - moment)] == [True, True, False, False]
    assert [is_open(None, NOW), is_open(NOW + moment, NOW)] == [False, False]


def test_a_hold_that_was_closed_without_an_outcome_has_none_to_tell():
    one = Decimal(1)
    for charged, balance in ((None, None), (one, None), (None, one)):
        with pytest.raises(HoldClosed):
            _settled_before(HoldState(uuid7(), one, "expired", charged, balance))
    outcome = _settled_before(HoldState(uuid7(), one, "settled", ZERO, one))
    assert outcome == Settlement(charged=ZERO, balance_after=one, hold_amount=one, settled_now=False)


def test_hashes_do_not_depend_on_how_letters_are_encoded():
    posting = empty()
    entry = posting.credit(NewLot(uuid7(), "promo", Decimal(1)), kind="grant", reference=REFERENCE, reason="Grüße 🙂",
                           initiated_by="test")  # fmt: skip
    assert b'"reason":"Gr\\u00fc\\u00dfe \\ud83d\\ude42"' in canonical(entry)


def test_the_canonical_form_is_stable():
    """Hashes are stored for ever: this text must never change for rows like these."""
    posting = empty()
    entry = credit(posting, Decimal("1.5"))
    text = canonical(entry).decode()
    assert text == (
        '{"amount":"1.50000000","balance_after":"1.50000000","created_at":"2026-11-23T12:00:00.000000Z",'
        f'"event_id":null,"grant_id":"{entry.grant_id}","id":"{entry.id}","idempotency_key":null,'
        f'"initiated_by":"test","kind":"grant","reason":"","reference_id":"{REFERENCE.id}",'
        f'"reference_type":"test","seq":1,"user_id":"{USER_ID}","wallet_id":"{WALLET_ID}"}}'
    )

"""The ledger's arithmetic alone: random sequences against a ten-line model. No database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.ledger.chain import canonical, entry_hash, seed_hash
from billing.ledger.posting import Posting
from billing.ledger.states import NewLot, Reference, WalletState
from config.core.ids import uuid7
from config.core.money import ZERO

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WALLET_ID, USER_ID = uuid7(), uuid7()
REFERENCE = Reference("test", uuid7())


def empty(held=ZERO):
    return Posting(wallet=WalletState(WALLET_ID, USER_ID, ZERO, held, 0, seed_hash(WALLET_ID), None), lots=[], now=NOW)


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

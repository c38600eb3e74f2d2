"""Lots in the hard cases: scopes, refunds into the lots that paid, voids, overdrafts. Exact values."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from billing import ledger
from billing.errors import InsufficientCredits, NothingToVoid, RefundExceedsDebit
from billing.ledger import Reference
from billing.models import CreditAllocation, CreditGrant, CreditTransaction, CreditWallet, LLMCallEvent
from billing.tests.makers import charge, credits, make_call, make_hold, make_wallet, settle, share
from config.core.errors import NotFound
from config.core.ids import uuid7
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db
MINI = "gpt-4o-mini"
# On gpt-4o-mini (x 1.0) one credit each; on gpt-4o (x 2.0) two.
ONE = TokenPools(output=10_000)


def give(user_id, amount, **grant):
    entry = ledger.grant(user_id=user_id, amount=credits(amount), reason="test", initiated_by="test", **grant)
    return CreditTransaction.objects.get(id=entry).grant_id


def left(*grant_ids):
    found = dict(CreditGrant.objects.values_list("id", "remaining"))
    return [str(found[id_].normalize()) for id_ in grant_ids]


def balance(user_id):
    return CreditWallet.objects.get(user_id=user_id).balance


def debits(user_id):
    return list(CreditTransaction.objects.filter(user_id=user_id, kind="debit").order_by("seq"))


def refund(user_id, reference, amount=None):
    return CreditTransaction.objects.get(
        id=ledger.refund(
            user_id=user_id, reference=reference, amount=None if amount is None else credits(amount), reason="sorry",
            initiated_by="staff",
        )
    )  # fmt: skip


def kinds(user_id):
    entries = CreditTransaction.objects.filter(user_id=user_id).order_by("seq")
    return [(kind, str(amount.normalize())) for kind, amount in entries.values_list("kind", "amount")]


def expire(grant_id):
    CreditGrant.objects.filter(id=grant_id).update(expires_at=timezone.now() - timedelta(seconds=1))


# Scopes


def test_a_scoped_lot_pays_for_its_aliases_and_for_nothing_else():
    user_id = make_wallet("0")
    scoped, anything = give(user_id, "5", aliases=[MINI]), give(user_id, "5")
    charge(user_id, ONE, alias="gpt-4o")
    assert left(scoped, anything) == ["5", "3"]
    charge(user_id, ONE)
    assert left(scoped, anything) == ["4", "3"]


def test_priority_goes_before_scope():
    user_id = make_wallet("0")
    scoped, first = give(user_id, "5", aliases=[MINI]), give(user_id, "5", priority=1)
    charge(user_id, ONE)
    assert left(scoped, first) == ["5", "4"]


def test_hard_counts_only_what_may_pay_for_the_call():
    user_id = make_wallet("0")
    give(user_id, "5", aliases=[MINI])
    give(user_id, "1")
    with pytest.raises(InsufficientCredits) as refusal:
        make_hold(user_id, "1.5", alias="gpt-4o")
    shown = refusal.value.members
    assert (shown["balance"], shown["held"]) == ("6.00000000", "0.00000000")
    assert (shown["available"], shown["required"]) == ("1.00000000", "1.50000000")
    assert refusal.value.available_for(MINI) == Decimal(6)
    assert CreditWallet.objects.get(user_id=user_id).held == 0
    make_hold(user_id, "6", alias=MINI)


def test_what_other_work_will_burn_is_not_promised_twice():
    """A hold for the mini alias takes its own lot first, so the common one is free for another; not so reversed."""
    user_id = make_wallet("0")
    give(user_id, "5", aliases=[MINI], priority=1)
    give(user_id, "5")
    make_hold(user_id, "5", alias=MINI)
    make_hold(user_id, "5", alias="gpt-4o")
    other = make_wallet("0")
    give(other, "5", aliases=[MINI])
    give(other, "5", priority=1)
    make_hold(other, "5", alias=MINI)
    with pytest.raises(InsufficientCredits) as refusal:
        make_hold(other, "0.5", alias="gpt-4o")
    assert refusal.value.available == 0
    assert CreditWallet.objects.get(user_id=other).held == Decimal(5)


def test_a_charge_above_its_lots_burns_scoped_ones_before_it_overdraws():
    user_id = make_wallet("0")
    scoped, anything = give(user_id, "5", aliases=[MINI]), give(user_id, "1")
    charge(user_id, ONE, ONE, alias="gpt-4o")
    assert left(scoped, anything) == ["2", "0"]
    charge(user_id, ONE, ONE, alias="gpt-4o")
    assert (balance(user_id), left(scoped)) == (Decimal(-2), ["0"])


def test_the_wallet_forgets_scoped_lots_once_they_are_burnt():
    user_id = make_wallet("1")
    assert CreditWallet.objects.get(user_id=user_id).has_scoped_lots is False
    give(user_id, "1", aliases=[MINI], priority=1)
    assert CreditWallet.objects.get(user_id=user_id).has_scoped_lots is True
    charge(user_id, ONE)
    assert CreditWallet.objects.get(user_id=user_id).has_scoped_lots is False


def test_extending_a_hold_asks_for_the_next_alias():
    user_id = make_wallet("0")
    give(user_id, "5", aliases=[MINI])
    give(user_id, "1")
    reference = make_hold(user_id, "2", alias=MINI)

    def extended(amount):
        shares = [ledger.Share(MINI, credits("2")), ledger.Share("gpt-4o", credits(amount))]
        ledger.extend_hold(user_id=user_id, reference=reference, shares=shares, enforcement="hard")

    with pytest.raises(InsufficientCredits) as refusal:
        extended("1.00000001")
    assert (refusal.value.available, refusal.value.required) == (Decimal(1), Decimal("1.00000001"))
    extended("1")
    assert CreditWallet.objects.get(user_id=user_id).held == Decimal(3)


# Refunds


def test_a_refund_goes_back_into_the_lots_that_paid_the_last_burnt_first():
    user_id = make_wallet("0")
    first, second = give(user_id, "1", priority=1), give(user_id, "5")
    charge(user_id, TokenPools(output=30_000))
    [debit] = debits(user_id)
    entry = refund(user_id, Reference("entry", debit.id), "2.5")
    assert (entry.kind, entry.amount, entry.balance_after) == ("refund", Decimal("2.5"), Decimal("5.5"))
    assert (entry.reference_type, entry.reference_id, entry.grant_id) == ("entry", debit.id, None)
    assert left(first, second) == ["0.5", "5"]
    assert sorted(a.amount for a in CreditAllocation.objects.filter(entry=entry)) == [Decimal(-2), Decimal("-0.5")]


def test_a_refund_without_amount_gives_back_what_is_left():
    user_id = make_wallet("5")
    charge(user_id, TokenPools(output=20_000))
    [debit] = debits(user_id)
    refund(user_id, Reference("entry", debit.id), "0.5")
    assert refund(user_id, Reference("entry", debit.id)).amount == Decimal("1.5")
    with pytest.raises(RefundExceedsDebit) as refusal:
        refund(user_id, Reference("entry", debit.id))
    assert refusal.value.members["refundable"] == "0.00000000"
    assert balance(user_id) == Decimal(5)


def test_a_refund_above_the_debit_is_refused_and_nothing_moves():
    user_id = make_wallet("5")
    charge(user_id, ONE)
    [debit] = debits(user_id)
    with pytest.raises(RefundExceedsDebit):
        refund(user_id, Reference("entry", debit.id), "1.00000001")
    assert (balance(user_id), CreditTransaction.objects.filter(kind="refund").count()) == (Decimal(4), 0)


def test_a_turn_is_refunded_whole_and_its_debits_not_once_more():
    user_id = make_wallet("10")
    charge(user_id, ONE, TokenPools(output=20_000))
    one, two = debits(user_id)
    turn = Reference("turn", one.reference_id)
    entry = refund(user_id, turn)
    assert (entry.amount, entry.reference_type, entry.reference_id) == (Decimal(3), "turn", one.reference_id)
    for reference in (turn, Reference("entry", one.id), Reference("entry", two.id)):
        with pytest.raises(RefundExceedsDebit):
            refund(user_id, reference, "0.00000001")
    assert balance(user_id) == Decimal(10)


def test_refunds_of_a_debit_count_against_its_turn_and_the_other_way_round():
    user_id = make_wallet("10")
    charge(user_id, ONE, TokenPools(output=20_000))
    one, two = debits(user_id)
    refund(user_id, Reference("entry", two.id), "1.5")
    with pytest.raises(RefundExceedsDebit) as refusal:
        refund(user_id, Reference("turn", one.reference_id), "2")
    assert refusal.value.members["refundable"] == "1.50000000"
    refund(user_id, Reference("turn", one.reference_id), "1")
    # The turn has half a credit left to give, whichever debit is asked.
    with pytest.raises(RefundExceedsDebit) as refusal:
        refund(user_id, Reference("entry", one.id), "0.6")
    assert refusal.value.members["refundable"] == "0.50000000"
    refund(user_id, Reference("entry", one.id))
    assert balance(user_id) == Decimal(10)


def test_what_expired_comes_back_as_a_lot_of_its_own():
    user_id = make_wallet("0")
    old = give(user_id, "3", aliases=[MINI], expires_at=timezone.now() + timedelta(days=1))
    charge(user_id, TokenPools(output=20_000))
    expire(old)
    ledger.expire_lots(user_id=user_id)
    entry = refund(user_id, Reference("entry", debits(user_id)[0].id))
    new = CreditGrant.objects.get(id=entry.grant_id)
    assert (new.kind, new.amount, new.remaining, new.expires_at) == ("refund", Decimal(2), Decimal(2), None)
    assert new.aliases == [MINI]
    assert (left(old), balance(user_id)) == (["0"], Decimal(2))


def test_a_refund_fills_open_lots_and_makes_one_of_what_closed_ones_paid():
    user_id = make_wallet("0")
    old = give(user_id, "1", expires_at=timezone.now() + timedelta(days=1))
    kept = give(user_id, "5")
    charge(user_id, TokenPools(output=30_000))
    expire(old)
    entry = refund(user_id, Reference("entry", debits(user_id)[0].id))
    assert left(old, kept, entry.grant_id) == ["0", "5", "1"]
    assert balance(user_id) == Decimal(6)


def test_a_refund_repays_an_overdraft_first():
    user_id = make_wallet("1")
    [lot] = CreditGrant.objects.filter(user_id=user_id).values_list("id", flat=True)
    charge(user_id, TokenPools(output=30_000))
    assert balance(user_id) == Decimal(-2)
    reference = Reference("entry", debits(user_id)[0].id)
    refund(user_id, reference, "1.5")
    assert (balance(user_id), left(lot)) == (Decimal("-0.5"), ["0"])
    refund(user_id, reference)
    assert (balance(user_id), left(lot)) == (Decimal(1), ["1"])


def test_what_an_overdraft_paid_and_a_grant_repaid_becomes_a_refund_lot():
    user_id = make_wallet("1")
    charge(user_id, TokenPools(output=30_000))
    later = give(user_id, "5")
    entry = refund(user_id, Reference("entry", debits(user_id)[0].id))
    first = CreditGrant.objects.filter(user_id=user_id).earliest("id").id
    assert left(first, later, entry.grant_id) == ["1", "3", "2"]
    assert balance(user_id) == Decimal(6)


def test_bobs_debit_is_not_alices_to_be_refunded():
    alice, bob = make_wallet("5"), make_wallet("5")
    charge(bob, ONE)
    for reference in (Reference("entry", debits(bob)[0].id), Reference("turn", debits(bob)[0].reference_id)):
        with pytest.raises(NotFound):
            refund(alice, reference)
    assert (balance(alice), balance(bob)) == (Decimal(5), Decimal(4))


# Adjustments


def test_a_negative_adjustment_is_paid_by_what_has_not_expired():
    user_id = make_wallet("0")
    kept = give(user_id, "10")
    old = give(user_id, "10", expires_at=timezone.now() + timedelta(days=1))
    expire(old)
    ledger.adjust(user_id=user_id, amount=credits("-5"), reason="x", initiated_by="staff")
    assert (left(kept, old), balance(user_id)) == (["5", "0"], Decimal(5))
    assert kinds(user_id)[2:] == [("expiry", "-1E+1"), ("adjustment", "-5")]


def test_an_adjustment_leaves_what_a_hold_reserves_of_an_expired_lot():
    user_id = make_wallet("0")
    kept, old = give(user_id, "1"), give(user_id, "10", expires_at=timezone.now() + timedelta(days=1))
    make_hold(user_id, "4")
    expire(old)
    ledger.adjust(user_id=user_id, amount=credits("-3"), reason="x", initiated_by="staff")
    # 7 of 11 were free and expired; what running work reserves is taken like everything else that is left.
    assert (left(kept, old), balance(user_id)) == (["1", "0"], Decimal(1))


@pytest.mark.parametrize("reference_type", ["entry", "turn"])
def test_the_database_refuses_a_refund_that_exceeds(reference_type):
    user_id = make_wallet("5")
    charge(user_id, ONE)
    [debit] = debits(user_id)
    target = debit.id if reference_type == "entry" else debit.reference_id
    refund(user_id, Reference("entry", debit.id), "0.5")
    forged = """
        INSERT INTO credit_transactions (id, wallet_id, user_id, seq, kind, amount, balance_after, reference_type,
               reference_id, reason, initiated_by, entry_hash, created_at)
        SELECT %s, w.id, w.user_id, w.last_seq + 1, 'refund', 0.6, w.balance + 0.6, %s, %s, '', 'x', 'x', now()
          FROM credit_wallets w WHERE w.user_id = %s"""
    with pytest.raises(DatabaseError, match="L4"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(forged, [uuid7(), reference_type, target, user_id])
        cursor.execute('SET CONSTRAINTS "pgtrigger_refund_within_debit_f6c63" IMMEDIATE')


# Voids


def test_a_void_takes_what_remains():
    user_id = make_wallet("0")
    fraud, honest = give(user_id, "5", priority=1), give(user_id, "2")
    charge(user_id, ONE)
    id_ = ledger.void(user_id=user_id, grant_id=fraud, reason="chargeback", initiated_by="staff")
    entry = CreditTransaction.objects.get(id=id_)
    assert (entry.kind, entry.amount, entry.reference_type) == ("adjustment", Decimal(-4), "void")
    assert (entry.reference_id, entry.grant_id, entry.reason) == (fraud, fraud, "chargeback")
    assert (left(fraud, honest), balance(user_id)) == (["0", "2"], Decimal(2))
    assert CreditGrant.objects.get(id=fraud).voided_at == entry.created_at
    with pytest.raises(NothingToVoid):
        ledger.void(user_id=user_id, grant_id=fraud, reason="again", initiated_by="staff")
    assert balance(user_id) == Decimal(2)


def test_a_void_takes_held_credits_too_and_the_work_goes_on():
    user_id = make_wallet("0")
    fraud = give(user_id, "5")
    reference = make_hold(user_id, "3")
    ledger.void(user_id=user_id, grant_id=fraud, reason="chargeback", initiated_by="staff")
    wallet = CreditWallet.objects.get(user_id=user_id)
    assert (wallet.balance, wallet.held) == (Decimal(0), Decimal(3))
    settle(user_id, reference, make_call(turn_id=reference.id))
    assert balance(user_id) == Decimal(-1)


def test_what_has_expired_is_not_voided_any_more():
    user_id = make_wallet("1")
    old = give(user_id, "5", expires_at=timezone.now() + timedelta(days=1))
    expire(old)
    with pytest.raises(NothingToVoid), transaction.atomic():
        ledger.void(user_id=user_id, grant_id=old, reason="x", initiated_by="staff")
    assert (left(old), balance(user_id)) == (["5"], Decimal(6))
    assert ledger.expire_lots(user_id=user_id) == 1
    assert (left(old), balance(user_id)) == (["0"], Decimal(1))


def test_a_void_lets_other_lots_expire_first():
    user_id = make_wallet("0")
    fraud, old = give(user_id, "5"), give(user_id, "5", expires_at=timezone.now() + timedelta(days=1))
    make_hold(user_id, "5")
    expire(old)
    ledger.void(user_id=user_id, grant_id=fraud, reason="chargeback", initiated_by="staff")
    assert (left(fraud, old), balance(user_id)) == (["0", "0"], Decimal(0))
    assert kinds(user_id)[2:] == [("expiry", "-5"), ("adjustment", "-5")]


def test_a_refund_never_fills_a_voided_grant():
    user_id = make_wallet("0")
    fraud = give(user_id, "5")
    charge(user_id, ONE)
    ledger.void(user_id=user_id, grant_id=fraud, reason="chargeback", initiated_by="staff")
    entry = refund(user_id, Reference("entry", debits(user_id)[0].id))
    assert left(fraud, entry.grant_id) == ["0", "1"]


def test_bobs_grant_is_not_voided_from_alices_wallet():
    alice, bob = make_wallet("5"), make_wallet("0")
    grant = give(bob, "5")
    with pytest.raises(NothingToVoid):
        ledger.void(user_id=alice, grant_id=grant, reason="x", initiated_by="staff")
    assert (balance(alice), balance(bob)) == (Decimal(5), Decimal(5))


def test_the_database_refuses_a_voided_lot_with_something_left():
    user_id = make_wallet("5")
    with pytest.raises(DatabaseError, match="grant_voided_is_empty"), transaction.atomic():
        CreditGrant.objects.filter(user_id=user_id).update(voided_at=timezone.now())


# Expiry under holds


def test_expiry_waits_for_the_hold_and_takes_the_rest_when_it_closes():
    user_id = make_wallet("0")
    old = give(user_id, "5", expires_at=timezone.now() + timedelta(days=1))
    reference = make_hold(user_id, "3")
    expire(old)
    assert ledger.expire_lots(user_id=user_id) == 1
    assert (balance(user_id), left(old)) == (Decimal(3), ["3"])
    settlement = settle(user_id, reference, make_call(turn_id=reference.id))
    assert (settlement.charged, settlement.balance_after, left(old)) == (Decimal(1), Decimal(0), ["0"])
    assert LLMCallEvent.objects.filter(user_id=user_id).count() == 1
    assert kinds(user_id) == [
        ("grant", "5"), ("expiry", "-2"), ("debit", "-1"), ("expiry", "-2"),
    ]  # fmt: skip


def test_less_than_a_credit_is_voided_too():
    user_id = make_wallet("5")
    ledger.grant(user_id=user_id, amount=Decimal("0.00000001"), reason="a speck", initiated_by="test")
    speck = CreditGrant.objects.get(user_id=user_id, amount=Decimal("0.00000001"))
    ledger.void(user_id=user_id, grant_id=speck.id, reason="charged back", initiated_by="test")
    speck.refresh_from_db()
    assert (speck.remaining, CreditWallet.objects.get(user_id=user_id).balance) == (0, Decimal(5))


def test_who_asks_the_gate_before_anything_else_is_answered_and_has_a_wallet(settings):
    settings.BETA_GRANT_CREDITS = Decimal(3)
    user_id = uuid7()
    preview = ledger.preview_hold(user_id=user_id, shares=[share("1")])
    assert (preview.available, preview.refusal) == (Decimal(3), None)
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(3)

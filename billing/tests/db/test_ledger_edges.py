"""The ledger at its edges: exactly enough, exactly nothing, a stranger, the part of a credit. Exact values."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from billing import ledger, metrics
from billing.errors import InsufficientCredits, RefundExceedsDebit, SpendingLimitReached
from billing.ledger import Reference, Share
from billing.ledger.holds import Preview
from billing.ledger.repairing import repair_holds
from billing.limits import services as limits
from billing.models import CreditGrant, CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from billing.tests.makers import charge, credits, make_call, make_hold, make_wallet, settle, share
from config.core.ids import uuid7
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db
MINI = "gpt-4o-mini"
# On gpt-4o-mini (x 1.0) one credit each.
ONE, TWO = TokenPools(output=10_000), TokenPools(output=20_000)


def entries(user_id):
    rows = CreditTransaction.objects.filter(user_id=user_id).order_by("seq")
    return [(row.kind, str(row.amount.normalize())) for row in rows]


def lots(user_id):
    rows = CreditGrant.objects.filter(user_id=user_id).order_by("created_at", "id")
    return [(row.kind, str(row.remaining.normalize()), row.aliases) for row in rows]


def expire_lots_of(user_id):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credit_grants SET expires_at = now() - interval '1 second' "
            " WHERE user_id = %s AND expires_at > now()",
            [user_id],
        )
        cursor.execute("UPDATE credit_wallets SET next_expiry_at = now() WHERE user_id = %s", [user_id])


# Corrections


@pytest.mark.parametrize("amount", ["0.5", "-0.5", "0.00000001"])
def test_an_adjustment_by_a_part_of_a_credit_is_one_entry_of_that_amount(amount):
    user_id = make_wallet("1")
    entry_id = ledger.adjust(user_id=user_id, amount=credits(amount), reason="test", initiated_by="staff")
    entry = CreditTransaction.objects.get(user_id=user_id, kind="adjustment")
    assert (entry.id, entry.amount) == (entry_id, Decimal(amount))
    assert CreditWallet.objects.get(user_id=user_id).balance == 1 + Decimal(amount)


def test_a_refund_that_fills_more_than_a_closed_lot_paid_may_pay_for_everything():
    """2 of 5 came out of a scoped lot, 3 out of an overdraft that a purchase has repaid since."""
    user_id = make_wallet("2", expires_at=timezone.now() + timedelta(minutes=1), aliases=[MINI])
    charge(user_id, TokenPools(output=50_000))
    make_wallet("10", user_id=user_id, kind="purchase")
    expire_lots_of(user_id)
    turn = CreditTransaction.objects.get(user_id=user_id, kind="debit").reference_id
    ledger.refund(user_id=user_id, reference=Reference("turn", turn), reason="test", initiated_by="staff")
    assert lots(user_id) == [("promo", "0", [MINI]), ("purchase", "7", []), ("refund", "5", [])]


def test_a_whole_turn_goes_back_at_once_into_the_lot_that_paid_all_its_debits():
    user_id = make_wallet("10")
    charge(user_id, ONE, TWO)
    turn = CreditTransaction.objects.filter(user_id=user_id, kind="debit")[0].reference_id
    ledger.refund(user_id=user_id, reference=Reference("turn", turn), reason="test", initiated_by="staff")
    assert lots(user_id) == [("promo", "1E+1", [])]
    assert entries(user_id) == [("grant", "1E+1"), ("debit", "-1"), ("debit", "-2"), ("refund", "3")]


def test_a_turn_goes_back_in_pieces_into_the_lot_that_paid_each_of_its_debits():
    user_id = make_wallet("10")
    charge(user_id, ONE, TWO)
    first, second = CreditTransaction.objects.filter(user_id=user_id, kind="debit").order_by("seq")
    turn = Reference("turn", first.reference_id)

    def give_back(reference, amount=None):
        amount = None if amount is None else credits(amount)
        ledger.refund(user_id=user_id, reference=reference, amount=amount, reason="test", initiated_by="staff")

    give_back(turn, "1")
    give_back(turn, "0.5")
    assert lots(user_id) == [("promo", "8.5", [])]
    # Of the second debit's 2 no more than the 1.5 that are left of the turn, of the first no more than its 1.
    for reference, left in (
        (Reference("entry", second.id), "1.5"), (Reference("entry", first.id), "1"), (turn, "1.5"),
    ):  # fmt: skip
        with pytest.raises(RefundExceedsDebit) as refusal, transaction.atomic():
            give_back(reference, str(Decimal(left) + Decimal("0.00000001")))
        assert refusal.value.members["refundable"] == str(credits(left))
    give_back(Reference("entry", first.id), "0.5")
    give_back(Reference("entry", first.id), "0.25")
    with pytest.raises(RefundExceedsDebit), transaction.atomic():
        give_back(Reference("entry", first.id), "0.25000001")
    give_back(turn)
    assert lots(user_id) == [("promo", "1E+1", [])]
    assert entries(user_id) == [
        ("grant", "1E+1"), ("debit", "-1"), ("debit", "-2"), ("refund", "1"), ("refund", "0.5"), ("refund", "0.5"),
        ("refund", "0.25"), ("refund", "0.75"),
    ]  # fmt: skip


# Grants and wallets


def test_a_grant_that_the_database_refuses_is_not_swallowed():
    user_id = make_wallet("1")
    with pytest.raises(DatabaseError, match="grant_priority_range"), transaction.atomic():
        ledger.grant(user_id=user_id, amount=credits("1"), priority=101, reason="test", initiated_by="test")
    assert entries(user_id) == [("grant", "1")]


def test_a_stranger_has_nothing_that_could_expire_or_be_repaired():
    stranger = uuid7()
    assert ledger.expire_lots(user_id=stranger) == 0
    assert repair_holds(user_id=stranger, over=set, grace_s=0) is None
    assert not CreditWallet.objects.filter(user_id=stranger).exists()


@pytest.mark.parametrize(("welcome", "granted"), [("0", []), ("0.5", [("grant", "0.5")])])
def test_the_welcome_grant_may_be_a_part_of_a_credit_or_nothing(settings, welcome, granted):
    settings.BETA_GRANT_CREDITS = credits(welcome)
    user_id = uuid7()
    ledger.get_or_create_wallet(user_id=user_id)
    ledger.get_or_create_wallet(user_id=user_id)
    assert entries(user_id) == granted


# Holds


def test_placing_a_hold_says_which():
    user_id = make_wallet("1")
    reference = Reference("turn", uuid7())
    hold_id = ledger.place_hold(user_id=user_id, reference=reference, shares=[share("1")], enforcement="hard")
    assert CreditHold.objects.get(reference_id=reference.id).id == hold_id


def test_only_open_holds_of_the_work_that_is_named_are_renewed():
    user_id = make_wallet("10")
    named, closed, unnamed = (make_hold(user_id, "1") for _ in range(3))
    settle(user_id, closed)
    other_kind = Reference("completion", named.id)
    ledger.place_hold(user_id=user_id, reference=other_kind, shares=[share("1")], enforcement="hard")
    CreditHold.objects.filter(user_id=user_id).update(expires_at="2020-01-01T00:00:00Z")
    ledger.renew_holds(reference_type="turn", reference_ids=[named.id, closed.id])
    renewed = CreditHold.objects.filter(user_id=user_id, expires_at__gt="2026-01-01T00:00:00Z")
    assert [(hold.reference_type, hold.reference_id) for hold in renewed] == [("turn", named.id)]
    CreditHold.objects.filter(user_id=user_id).update(expires_at=timezone.now() + timedelta(hours=1))
    assert unnamed.id != named.id


@pytest.mark.breaks_the_ledger
def test_a_hold_is_repaired_after_its_time_and_the_grace():
    user_id = make_wallet("10")
    reference = make_hold(user_id, "1")
    CreditHold.objects.filter(reference_id=reference.id).update(expires_at=timezone.now() - timedelta(seconds=30))
    assert repair_holds(user_id=user_id, over=set, grace_s=60) is None
    repair = repair_holds(user_id=user_id, over=set, grace_s=20)
    assert repair is not None
    assert [(hold.reference_id, hold.amount) for hold in repair.closed] == [(reference.id, Decimal(1))]
    assert (repair.held_before, repair.held_after) == (Decimal(1), Decimal(0))


# Looking before leaping


def test_a_preview_leaves_out_what_has_expired_and_writes_nothing():
    user_id = make_wallet("5", expires_at=timezone.now() + timedelta(minutes=1))
    make_wallet("1", user_id=user_id)
    expire_lots_of(user_id)
    preview = ledger.preview_hold(user_id=user_id, shares=[share("2")])
    assert preview.available == Decimal(1)
    assert isinstance(preview.refusal, InsufficientCredits)
    assert entries(user_id) == [("grant", "5"), ("grant", "1")]
    assert ledger.preview_hold(user_id=user_id, shares=[share("1")]) == Preview(Decimal(1), None)


def test_a_preview_says_what_is_free_for_the_last_of_its_calls():
    user_id = make_wallet("5", aliases=[MINI])
    make_wallet("2", user_id=user_id)
    for first, last, free in ((MINI, "gpt-4o", 2), ("gpt-4o", MINI, 7)):
        shares = [Share(first, credits("0.5")), Share(MINI, credits("0.5")), Share(last, credits("0.5"))]
        assert ledger.preview_hold(user_id=user_id, shares=shares) == Preview(Decimal(free), None)


def test_a_preview_says_which_limit_would_refuse():
    user_id = make_wallet("5")
    limits.create(user_id=user_id, subject="user", subject_id=user_id, period="day", amount=credits("1"), tz="UTC",
                  is_staff_set=True, set_by="test")  # fmt: skip
    preview = ledger.preview_hold(user_id=user_id, shares=[share("2")])
    assert preview.available == Decimal(5)
    assert isinstance(preview.refusal, SpendingLimitReached)
    assert ledger.preview_hold(user_id=user_id, shares=[share("1")]) == Preview(Decimal(5), None)


# Settling


def test_a_charge_of_exactly_the_hold_is_not_above_it_and_nothing_after_one_that_was_is_not_either():
    user_id = make_wallet("10")
    exact, above = make_hold(user_id, "1"), make_hold(user_id, "0.5")
    settle(user_id, exact, make_call(turn_id=exact.id))
    calls = [
        make_call(TokenPools(output=output), turn_id=above.id, call_index=index)
        for index, output in enumerate([10_000, 0, 10_000], start=1)
    ]
    settle(user_id, above, *calls)
    rows = LLMCallEvent.objects.filter(user_id=user_id).order_by("turn_id", "call_index")
    flags = {(row.turn_id, row.call_index): row.usage_flags for row in rows}
    over = ["charge_above_hold"]
    assert flags == {(exact.id, 1): [], (above.id, 1): over, (above.id, 2): [], (above.id, 3): over}


@pytest.mark.parametrize(("output", "status"), [(5_000, "settled"), (1, "settled"), (0, "released")])
def test_a_charge_of_any_size_settles_and_none_releases(output, status):
    user_id = make_wallet("10")
    reference = make_hold(user_id, "1")
    settle(user_id, reference, make_call(TokenPools(output=output), turn_id=reference.id))
    hold = CreditHold.objects.get(reference_id=reference.id)
    assert (hold.status, hold.charged) == (status, Decimal(output) / 10_000)


def test_a_bill_stands_although_counting_it_fails(monkeypatch, django_capture_on_commit_callbacks):
    def break_down(*_, **__):
        raise RuntimeError("no metrics today")

    monkeypatch.setattr(metrics, "_count", break_down)
    user_id = make_wallet("10")
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        charge(user_id, ONE)
    assert len(callbacks) == 1
    assert entries(user_id) == [("grant", "1E+1"), ("debit", "-1")]


def test_a_limit_that_is_passed_already_stops_nothing_that_it_is_not_about():
    user_id, agent = make_wallet("100"), uuid7()
    reference = make_hold(user_id, "0", enforcement="off", agent_id=agent)
    limit = limits.create(user_id=user_id, subject="user", subject_id=user_id, period="day", amount=credits("1"),
                          tz="UTC", is_staff_set=True, set_by="test")  # fmt: skip
    settle(user_id, reference, *(make_call(turn_id=reference.id, call_index=index) for index in (1, 2)))
    limit.refresh_from_db()
    assert limit.spent == Decimal(2)
    with pytest.raises(SpendingLimitReached):
        make_hold(user_id, "0.00000001")
    # A call that costs nothing asks nothing of a limit.
    make_hold(user_id, "0")

"""The ledger's arithmetic against real PostgreSQL, constraints and triggers on. Exact values."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from billing import ledger
from billing.errors import HoldClosed, InsufficientCredits
from billing.ledger import Reference
from billing.models import CreditAllocation, CreditGrant, CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from billing.tests.makers import charge, credits, make_call, make_hold, make_wallet, settle, share
from config.core.errors import ValidationFailed
from config.core.ids import uuid7
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db

ONE_CREDIT = TokenPools(output=10_000)


def at_commit(sql, user_id):
    """Run a statement and have the deferred triggers judge it, as a commit would."""
    with connection.cursor() as cursor:
        cursor.execute(sql, [user_id])
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def wallet_of(user_id):
    return CreditWallet.objects.get(user_id=user_id)


def remaining(user_id):
    lots = CreditGrant.objects.filter(user_id=user_id).order_by("created_at", "id")
    return [str(lot.remaining.normalize()) for lot in lots]


def entries(user_id):
    rows = CreditTransaction.objects.filter(user_id=user_id).order_by("seq")
    return [(row.kind, str(row.amount), str(row.balance_after)) for row in rows]


def test_a_wallet_is_made_once_and_carries_the_beta_grant(settings):
    settings.BETA_GRANT_CREDITS = credits("3")
    user_id = uuid7()
    first = ledger.get_or_create_wallet(user_id=user_id)
    second = ledger.get_or_create_wallet(user_id=user_id)
    assert first == second
    assert first.balance == credits("3")
    assert entries(user_id) == [("grant", "3.00000000", "3.00000000")]


def test_the_debit_of_the_worked_example_keeps_eight_places():
    user_id = make_wallet("1")
    settlement = charge(user_id, TokenPools(input_fresh=120, input_cached=40, output=80), alias="gpt-4o")
    event = LLMCallEvent.objects.get(user_id=user_id)
    assert (event.oe_tokens_computed, event.credits_burned) == (Decimal("126.0000"), Decimal("0.0252"))
    assert settlement.charged == Decimal("0.02520000")
    assert entries(user_id)[-1] == ("debit", "-0.02520000", "0.97480000")


def test_a_call_that_shows_four_zeros_still_has_its_debit():
    user_id = make_wallet("1")
    charge(user_id, TokenPools(output=1), alias="deepseek")
    event = LLMCallEvent.objects.get(user_id=user_id)
    assert event.credits_burned == Decimal("0.0000")
    assert entries(user_id)[-1] == ("debit", "-0.00005000", "0.99995000")


def test_a_small_call_keeps_the_places_that_its_event_does_not_show():
    user_id = make_wallet("1")
    charge(user_id, TokenPools(input_fresh=7, input_cached=3, output=1), alias="deepseek")
    event = LLMCallEvent.objects.get(user_id=user_id)
    assert event.credits_burned == Decimal("0.0002")
    assert entries(user_id)[-1] == ("debit", "-0.00018750", "0.99981250")


def test_a_call_that_costs_nothing_has_an_event_and_no_debit():
    user_id = make_wallet("1")
    settlement = charge(user_id, TokenPools())
    assert settlement.charged == 0
    assert LLMCallEvent.objects.filter(user_id=user_id).count() == 1
    assert entries(user_id) == [("grant", "1.00000000", "1.00000000")]
    assert CreditHold.objects.get(user_id=user_id).status == "released"


def test_eight_calls_move_the_wallet_by_the_sum_of_eight_events():
    user_id = make_wallet("10")
    settlement = charge(user_id, *[TokenPools(output=n) for n in range(1, 9)])
    events = LLMCallEvent.objects.filter(user_id=user_id)
    assert events.count() == 8
    assert settlement.charged == sum(event.credits_charged for event in events) == Decimal("0.00360000")
    assert wallet_of(user_id).balance == Decimal("9.99640000")


def test_lots_are_burnt_by_priority_then_expiry_then_age():
    user_id = make_wallet("1")
    soon, later = timezone.now() + timedelta(days=1), timezone.now() + timedelta(days=2)
    make_wallet("1", user_id=user_id, expires_at=later)
    make_wallet("1", user_id=user_id, expires_at=soon)
    make_wallet("1", user_id=user_id, priority=10)
    charge(user_id, TokenPools(output=25_000))
    assert remaining(user_id) == ["1", "0.5", "0", "0"]
    debit = CreditTransaction.objects.get(user_id=user_id, kind="debit")
    assert sum(row.amount for row in CreditAllocation.objects.filter(entry=debit)) == Decimal("2.5")


def test_an_overdraft_is_repaid_by_the_next_grant_first():
    user_id = make_wallet("1")
    charge(user_id, TokenPools(output=30_000))
    assert wallet_of(user_id).balance == Decimal(-2)
    make_wallet("5", user_id=user_id)
    assert wallet_of(user_id).balance == Decimal(3)
    assert remaining(user_id) == ["0", "3"]


def test_a_purchase_is_a_top_up_entry():
    user_id = make_wallet("2", kind="purchase")
    assert entries(user_id) == [("top_up", "2.00000000", "2.00000000")]


def test_a_hold_in_hard_mode_needs_credits_that_nothing_else_holds():
    user_id = make_wallet("5")
    for _ in range(5):
        make_hold(user_id, "1")
    with pytest.raises(InsufficientCredits) as refused, transaction.atomic():
        make_hold(user_id, "1")
    assert refused.value.members["available"] == "0.00000000"
    assert refused.value.members["held"] == "5.00000000"
    assert refused.value.members["required"] == "1.00000000"
    assert wallet_of(user_id).held == Decimal(5)
    assert CreditHold.objects.filter(user_id=user_id).count() == 5


@pytest.mark.parametrize("enforcement", ["off", "warn"])
def test_softer_modes_hold_and_refuse_nothing(enforcement):
    user_id = make_wallet("0")
    reference = make_hold(user_id, "7", enforcement=enforcement)
    assert wallet_of(user_id).held == Decimal(7)
    settle(user_id, reference, make_call(ONE_CREDIT, turn_id=reference.id))
    assert (wallet_of(user_id).held, wallet_of(user_id).balance) == (Decimal(0), Decimal(-1))


def test_a_hold_grows_and_never_shrinks():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "1")
    ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("3")], enforcement="hard")
    ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("2")], enforcement="hard")
    assert wallet_of(user_id).held == Decimal(3)
    with pytest.raises(InsufficientCredits), transaction.atomic():
        ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("5.00000001")], enforcement="hard")
    assert wallet_of(user_id).held == Decimal(3)


def test_a_closed_hold_cannot_be_extended():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "1")
    settle(user_id, reference)
    with pytest.raises(HoldClosed), transaction.atomic():
        ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("2")], enforcement="hard")


def test_settling_twice_bills_once_and_gives_the_same_answer():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "1")
    call = make_call(ONE_CREDIT, turn_id=reference.id)
    first = settle(user_id, reference, call)
    second = settle(user_id, reference, call)
    assert (first.settled_now, second.settled_now) == (True, False)
    assert (first.charged, first.balance_after) == (second.charged, second.balance_after) == (Decimal(1), Decimal(4))
    assert CreditTransaction.objects.filter(user_id=user_id, kind="debit").count() == 1


def test_a_bill_is_never_clamped_to_its_hold():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "0.5")
    settlement = settle(user_id, reference, make_call(ONE_CREDIT, turn_id=reference.id))
    assert settlement.charged == Decimal(1)
    assert settlement.exceeded_hold
    assert LLMCallEvent.objects.get(user_id=user_id).usage_flags == ["charge_above_hold"]


def test_renewing_moves_the_expiry_and_no_money():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "1")
    before = CreditHold.objects.get(reference_id=reference.id)
    ledger.renew_holds(reference_type="turn", reference_ids=[reference.id, uuid7()])
    after = CreditHold.objects.get(reference_id=reference.id)
    assert after.expires_at > before.expires_at
    assert (after.amount, after.status) == (before.amount, "open")


def test_what_expires_leaves_as_an_entry_of_its_own():
    user_id = make_wallet("2")
    with time_machine.travel(timezone.now() - timedelta(days=3)):
        expires_at = timezone.now() + timedelta(days=1)
    make_wallet("3", user_id=user_id, expires_at=expires_at)
    assert ledger.expire_lots(user_id=user_id) == 1
    assert ledger.expire_lots(user_id=user_id) == 0
    assert entries(user_id)[-1] == ("expiry", "-3.00000000", "2.00000000")
    assert remaining(user_id) == ["2", "0"]


def test_opening_a_hold_posts_due_expiry_first():
    user_id = make_wallet("1")
    make_wallet("3", user_id=user_id, expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(InsufficientCredits) as refused, transaction.atomic():
        make_hold(user_id, "2")
    assert refused.value.members["balance"] == "1.00000000"
    make_hold(user_id, "1")
    assert entries(user_id)[-1] == ("expiry", "-3.00000000", "1.00000000")


def test_expiry_spares_what_is_held_and_takes_the_rest_when_the_hold_closes():
    user_id = make_wallet("5", expires_at=timezone.now() + timedelta(seconds=30))
    reference = make_hold(user_id, "2")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credit_grants SET expires_at = now() - interval '1 second' WHERE user_id = %s", [user_id]
        )
    assert ledger.expire_lots(user_id=user_id) == 1
    assert wallet_of(user_id).balance == Decimal(2)
    settlement = settle(user_id, reference, make_call(ONE_CREDIT, turn_id=reference.id))
    assert settlement.balance_after == wallet_of(user_id).balance == Decimal(0)
    assert [kind for kind, _, _ in entries(user_id)] == ["grant", "expiry", "debit", "expiry"]


def test_adjustments_make_and_burn_lots():
    user_id = make_wallet("1")
    ledger.adjust(user_id=user_id, amount=credits("2"), reason="sorry", initiated_by="staff")
    ledger.adjust(user_id=user_id, amount=credits("-2.5"), reason="typo", initiated_by="staff")
    assert wallet_of(user_id).balance == Decimal("0.5")
    assert remaining(user_id) == ["0", "0.5"]
    with pytest.raises(ValidationFailed):
        ledger.adjust(user_id=user_id, amount=credits("0"), reason="none", initiated_by="staff")


def test_a_balance_beyond_the_ledgers_range_is_refused_and_nothing_moves():
    user_id = make_wallet("9999999999.99999999")
    with pytest.raises(ValidationFailed), transaction.atomic():
        ledger.grant(user_id=user_id, amount=credits("0.00000001"), reason="too much", initiated_by="test")
    assert entries(user_id) == [("grant", "9999999999.99999999", "9999999999.99999999")]


@pytest.mark.parametrize("kind", ["grant", "top_up", "adjustment"])
def test_the_largest_amount_of_the_ledger_is_given_at_once_and_spent(kind):
    user_id = make_wallet("0")
    most = {"user_id": user_id, "amount": credits("9999999999.99999999"), "reason": "all", "initiated_by": "test"}
    if kind == "adjustment":
        ledger.adjust(**most)
    else:
        ledger.grant(**most, kind="purchase" if kind == "top_up" else "promo")
    charge(user_id, ONE_CREDIT)
    assert entries(user_id) == [
        (kind, "9999999999.99999999", "9999999999.99999999"), ("debit", "-1.00000000", "9999999998.99999999"),
    ]  # fmt: skip


def test_a_refund_beyond_the_ledgers_range_is_refused_until_there_is_room():
    user_id = make_wallet("9999999999.5")
    charge(user_id, ONE_CREDIT)
    debit = Reference("entry", CreditTransaction.objects.get(user_id=user_id, kind="debit").id)
    ledger.grant(user_id=user_id, amount=credits("1"), reason="more", initiated_by="test")
    before = entries(user_id)
    with pytest.raises(ValidationFailed), transaction.atomic():
        ledger.refund(user_id=user_id, reference=debit, amount=credits("1.0"), reason="x", initiated_by="test")
    assert entries(user_id) == before
    charge(user_id, ONE_CREDIT)
    ledger.refund(user_id=user_id, reference=debit, reason="x", initiated_by="test")
    assert entries(user_id)[-1] == ("refund", "1.00000000", "9999999999.50000000")


def test_a_campaigns_beta_grant_is_given_once():
    user_id = make_wallet("1", kind="beta", campaign="spring")
    with pytest.raises(ValidationFailed), transaction.atomic():
        make_wallet("1", user_id=user_id, kind="beta", campaign="spring")
    assert wallet_of(user_id).balance == Decimal(1)


def test_a_charge_of_all_that_was_held_is_not_above_the_hold():
    user_id = make_wallet("5")
    exact, above = make_hold(user_id, "1"), make_hold(user_id, "0.99999999")
    assert settle(user_id, exact, make_call(ONE_CREDIT, turn_id=exact.id)).exceeded_hold is False
    assert settle(user_id, above, make_call(ONE_CREDIT, turn_id=above.id)).exceeded_hold is True
    flags = LLMCallEvent.objects.filter(user_id=user_id).order_by("id").values_list("usage_flags", flat=True)
    assert list(flags) == [[], ["charge_above_hold"]]


def test_lots_of_which_nobody_said_so_have_the_middle_priority(settings):
    settings.BETA_GRANT_CREDITS = credits("1")
    user_id = uuid7()
    ledger.get_or_create_wallet(user_id=user_id)
    ledger.adjust(user_id=user_id, amount=credits("1"), reason="x", initiated_by="staff")
    charge(user_id, TokenPools(output=30_000))
    ledger.grant(user_id=user_id, amount=credits("2"), reason="x", initiated_by="staff", priority=10)
    debit = Reference("entry", CreditTransaction.objects.get(user_id=user_id, kind="debit").id)
    # A credit of it was an overdraft, which comes back as a lot of its own.
    ledger.refund(user_id=user_id, reference=debit, reason="x", initiated_by="staff")
    lots = CreditGrant.objects.filter(user_id=user_id).order_by("id").values_list("kind", "priority")
    assert list(lots) == [("beta", 50), ("adjustment", 50), ("promo", 10), ("refund", 50)]


def test_settling_without_a_hold_is_refused():
    user_id = make_wallet("1")
    with pytest.raises(HoldClosed), transaction.atomic():
        settle(user_id, Reference("turn", uuid7()))


@pytest.mark.parametrize("table", ["llm_call_events", "credit_transactions", "credit_allocations"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_database_refuses_to_change_or_delete_money_rows(table, verb):
    charge(make_wallet("5"), ONE_CREDIT)
    with connection.cursor() as cursor:
        # TRUNCATE does not even start while deferred checks are pending.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(DatabaseError, match="Cannot (update or delete|truncate)"), transaction.atomic():
            cursor.execute(verb.format(table))


@pytest.mark.parametrize(
    ("invariant", "sql"),
    [
        ("L1", "UPDATE credit_wallets SET balance = balance + 1 WHERE user_id = %s"),
        ("L2", "UPDATE credit_wallets SET held = held + 1 WHERE user_id = %s"),
        ("L2", "UPDATE credit_holds SET amount = amount + 1 WHERE user_id = %s AND status = 'open'"),
        ("L9", "UPDATE credit_grants SET remaining = remaining - 0.5 WHERE user_id = %s AND remaining > 1"),
    ],
)
def test_the_database_refuses_a_transaction_that_breaks_an_invariant(invariant, sql):
    user_id = make_wallet("5")
    make_hold(user_id, "1")
    charge(user_id, ONE_CREDIT)
    with pytest.raises(IntegrityError, match=invariant), transaction.atomic():
        at_commit(sql, user_id)


def test_the_database_refuses_a_billed_event_without_its_debit():
    user_id = make_wallet("5")
    charge(user_id, ONE_CREDIT)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE copy ON COMMIT DROP AS SELECT * FROM llm_call_events WHERE user_id = %s", [user_id]
        )
        cursor.execute("UPDATE copy SET id = gen_random_uuid(), call_index = 2")
    with pytest.raises(IntegrityError, match="L3"), transaction.atomic():
        at_commit("INSERT INTO llm_call_events SELECT * FROM copy WHERE user_id = %s", user_id)


def test_extending_a_hold_posts_what_has_expired_and_counts_it_no_more():
    user_id = make_wallet("2")
    reference = make_hold(user_id, "1")
    make_wallet("50", user_id=user_id, expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(InsufficientCredits) as refused, transaction.atomic():
        ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("3")], enforcement="hard")
    assert (refused.value.members["balance"], refused.value.members["required"]) == ("2.00000000", "2.00000000")
    ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("2")], enforcement="hard")
    assert (wallet_of(user_id).balance, wallet_of(user_id).held) == (Decimal(2), Decimal(2))
    assert entries(user_id)[-1] == ("expiry", "-50.00000000", "2.00000000")

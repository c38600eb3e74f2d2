"""Deadlocks, serialization failures and lock timeouts, raised by PostgreSQL itself: run again, or refused as busy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from billing import ledger
from billing.models import CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from billing.tests.makers import credits, make_call, make_hold, make_wallet, settle
from billing.tests.race.forcing import failing_settlements, somebody_else, wait_until_somebody_waits_for_a_lock
from config.core import transactions
from config.core.ids import uuid7
from config.core.tests.racing import at_once
from config.core.transactions import retrying, sqlstate
from pricing.tests.makers import client_of
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def met(monkeypatch):
    """The SQLSTATEs for which `retrying` ran something again, or gave up."""
    states = []

    def watched(error):
        state = sqlstate(error)
        states.append(state)
        return state

    monkeypatch.setattr(transactions, "sqlstate", watched)
    return states


@pytest.fixture
def staff():
    return client_of(make_user("staff@example.com", is_staff=True, is_superuser=True))


def wallet_of(user_id):
    wallet = CreditWallet.objects.get(user_id=user_id)
    return (wallet.balance, wallet.held)


def entries_of(user_id):
    return list(CreditTransaction.objects.filter(user_id=user_id).order_by("seq").values_list("kind", "amount"))


def settling_again(user_id, reference, call):
    return lambda: retrying(lambda: settle(user_id, reference, call))


def test_a_real_deadlock_in_settle_is_run_again_and_bills_once(met):
    """Somebody holds the hold's row and wants the wallet; settle holds the wallet and wants the hold's row."""
    alice, bob = make_wallet("5"), make_wallet("5")
    reference = make_hold(alice, "1")
    call = make_call(turn_id=reference.id)

    def deadlocking():
        with connection.cursor() as cursor:
            # Ours finds the deadlock, so ours is the one that PostgreSQL ends.
            cursor.execute("SET deadlock_timeout = '1s'")
        return settling_again(alice, reference, call)()

    def wanting_the_wallet():
        with somebody_else() as other, somebody_else() as beside:
            other.execute("SET deadlock_timeout = '30s'")
            other.execute("BEGIN")
            other.execute("SELECT 1 FROM credit_holds WHERE reference_id = %s FOR UPDATE", [reference.id])
            held.set()
            wait_until_somebody_waits_for_a_lock(beside)
            other.execute("SELECT 1 FROM credit_wallets WHERE user_id = %s FOR UPDATE", [alice])
            other.execute("ROLLBACK")

    from threading import Event

    held = Event()

    def after_the_other():
        assert held.wait(20)
        return deadlocking()

    settled, other = at_once(after_the_other, wanting_the_wallet)
    assert other is None
    assert (settled.charged, settled.settled_now) == (Decimal(1), True)
    assert met == ["40P01"]
    assert wallet_of(alice) == (Decimal(4), Decimal(0))
    assert wallet_of(bob) == (Decimal(5), Decimal(0))
    assert entries_of(alice) == [("grant", Decimal(5)), ("debit", Decimal(-1))]


def test_fifty_turns_over_five_wallets_survive_ten_forced_deadlocks():
    wallets = [make_wallet("20") for _ in range(5)]
    works = []
    for turn in range(50):
        user_id = wallets[turn % 5]
        reference = make_hold(user_id, "1")
        works.append(settling_again(user_id, reference, make_call(turn_id=reference.id)))
    with failing_settlements("40P01", times=10) as inserted:
        results = at_once(*works)
        assert inserted() == 60
    assert [getattr(result, "charged", result) for result in results] == [Decimal(1)] * 50
    assert [wallet_of(user_id) for user_id in wallets] == [(Decimal(10), Decimal(0))] * 5
    assert CreditTransaction.objects.filter(kind="debit").count() == LLMCallEvent.objects.count() == 50


@pytest.mark.parametrize("state", ["40P01", "40001"])
def test_a_settlement_that_fails_and_is_run_again_debits_once(state):
    alice = make_wallet("5")
    reference = make_hold(alice, "1")
    with failing_settlements(state, times=2) as inserted:
        result = settling_again(alice, reference, make_call(turn_id=reference.id))()
        assert inserted() == 3
    assert (result.charged, result.settled_now) == (Decimal(1), True)
    assert entries_of(alice) == [("grant", Decimal(5)), ("debit", Decimal(-1))]
    assert wallet_of(alice) == (Decimal(4), Decimal(0))


def test_a_settlement_that_fails_for_good_leaves_its_hold_and_a_later_one_debits_once():
    alice = make_wallet("5")
    reference = make_hold(alice, "1")
    call = make_call(turn_id=reference.id)
    with failing_settlements("58030", times=1), pytest.raises(OperationalError):
        settling_again(alice, reference, call)()
    assert wallet_of(alice) == (Decimal(5), Decimal(1))
    assert CreditHold.objects.get(user_id=alice).status == "open"
    assert entries_of(alice) == [("grant", Decimal(5))]
    first, again = settling_again(alice, reference, call)(), settling_again(alice, reference, call)()
    assert (first.charged, again.charged) == (Decimal(1), Decimal(1))
    assert entries_of(alice) == [("grant", Decimal(5)), ("debit", Decimal(-1))]


@contextmanager
def repeatable_reads(user_id, *, conflicts: int) -> Iterator[None]:
    """This session reads from one snapshot a transaction, and somebody else writes the wallet after it was taken.

    So the first `conflicts` locks of the wallet fail with 40001, raised by PostgreSQL.
    """
    left = conflicts

    def interfere(execute, sql, params, many, context):
        nonlocal left
        if "FOR NO KEY UPDATE" in sql and left:
            left -= 1
            execute("SELECT 1 FROM credit_wallets", None, False, context)
            other.execute("UPDATE credit_wallets SET updated_at = clock_timestamp() WHERE user_id = %s", [user_id])
        return execute(sql, params, many, context)

    with somebody_else() as other, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_isolation = 'repeatable read'")
        try:
            with connection.execute_wrapper(interfere):
                yield
        finally:
            cursor.execute("RESET default_transaction_isolation")


def move(client, user_id, verb, amount):
    body = {"amount": amount, "reason": "race"}
    return client.post(f"/api/v1/admin/wallets/{user_id}/{verb}", body, format="json")


@pytest.mark.parametrize(("verb", "amount", "balance"), [("grant", "2", 7), ("adjust", "-2", 3)])
def test_a_real_serialization_failure_is_run_again_behind_the_api(staff, met, verb, amount, balance):
    alice, bob = (make_wallet("5", user_id=make_user(f"{name}@example.com").pk) for name in ("alice", "bob"))
    with repeatable_reads(alice, conflicts=2):
        answer = move(staff, alice, verb, amount)
    assert answer.status_code == 201, answer.content
    assert met == ["40001", "40001"]
    assert wallet_of(alice) == (Decimal(balance), Decimal(0))
    assert wallet_of(bob) == (Decimal(5), Decimal(0))
    assert len(entries_of(alice)) == 2


def test_a_real_serialization_failure_in_settle_is_run_again_and_bills_once(met):
    alice = make_wallet("5")
    reference = make_hold(alice, "1")
    with repeatable_reads(alice, conflicts=3):
        result = settling_again(alice, reference, make_call(turn_id=reference.id))()
    assert result.charged == Decimal(1)
    assert met == ["40001"] * 3
    assert entries_of(alice) == [("grant", Decimal(5)), ("debit", Decimal(-1))]


def test_serialization_failures_without_end_are_refused_and_nothing_is_written(staff, met):
    alice = make_wallet("5", user_id=make_user("alice@example.com").pk)
    with repeatable_reads(alice, conflicts=100):
        answer = move(staff, alice, "grant", "2")
    assert met[:4] == ["40001"] * 4
    assert answer.status_code in {409, 503}, answer.content
    assert "Retry-After" in answer.headers
    assert (wallet_of(alice), len(entries_of(alice))) == ((Decimal(5), Decimal(0)), 1)


def test_many_movements_under_repeatable_read_lose_no_credit():
    """Everybody from one snapshot: conflicts are found by PostgreSQL, and what was not refused adds up."""
    alice, bob = make_wallet("10"), make_wallet("10")

    def granting(user_id):
        def work():
            with connection.cursor() as cursor:
                cursor.execute("SET default_transaction_isolation = 'repeatable read'")
            return retrying(
                lambda: ledger.grant(user_id=user_id, amount=credits("1"), reason="race", initiated_by="test")
            )

        return work

    results = at_once(*[granting(user_id) for user_id in (alice, bob) * 6])
    for user_id, outcomes in ((alice, results[::2]), (bob, results[1::2])):
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert {sqlstate(error) for error in failed} <= {"40001"}
        assert wallet_of(user_id) == (Decimal(10 + len(outcomes) - len(failed)), Decimal(0))


@pytest.mark.parametrize(("verb", "amount"), [("grant", "2"), ("adjust", "-2")])
def test_a_real_lock_timeout_is_409_and_the_next_try_is_made(staff, met, settings, verb, amount):
    settings.DATABASE_LOCK_TIMEOUT_MS = 100
    alice, bob = (make_wallet("5", user_id=make_user(f"{name}@example.com").pk) for name in ("alice", "bob"))
    with somebody_else() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM credit_wallets WHERE user_id = %s FOR UPDATE", [alice])
        busy = move(staff, alice, verb, amount)
        free = move(staff, bob, verb, amount)
        other.execute("ROLLBACK")
    assert (busy.status_code, busy.json()["code"], busy.headers["Retry-After"]) == (409, "wallet_busy", "1")
    assert free.status_code == 201
    # Waited for once: each further try would hold a thread for as long again.
    assert met == ["55P03"]
    assert (wallet_of(alice), len(entries_of(alice))) == ((Decimal(5), Decimal(0)), 1)
    assert move(staff, alice, verb, amount).status_code == 201
    assert wallet_of(alice) == wallet_of(bob)


def test_a_lock_timeout_in_settle_writes_nothing_and_the_next_try_bills_once(settings):
    settings.DATABASE_LOCK_TIMEOUT_MS = 100
    alice = make_wallet("5")
    reference = make_hold(alice, "1")
    call = make_call(turn_id=reference.id)
    with somebody_else() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM credit_wallets WHERE user_id = %s FOR UPDATE", [alice])
        with pytest.raises(OperationalError) as refused:
            settling_again(alice, reference, call)()
        other.execute("ROLLBACK")
    assert sqlstate(refused.value) == "55P03"
    assert wallet_of(alice) == (Decimal(5), Decimal(1))
    assert settling_again(alice, reference, call)().charged == Decimal(1)
    assert wallet_of(alice) == (Decimal(4), Decimal(0))


def test_a_wallet_that_is_made_while_others_want_it_is_made_once_under_repeatable_read():
    """The loser of the insert cannot see the winner's row in its snapshot: it is told so, and never makes a second."""
    user_id = uuid7()

    def work():
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_isolation = 'repeatable read'")
        with transaction.atomic():
            return ledger.get_or_create_wallet(user_id=user_id)

    results = at_once(*[work] * 8)
    assert sum(not isinstance(result, Exception) for result in results) >= 1
    assert CreditWallet.objects.filter(user_id=user_id).count() == 1


@contextmanager
def held_by_somebody_else(user_id) -> Iterator[None]:
    with somebody_else() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM credit_wallets WHERE user_id = %s FOR UPDATE", [user_id])
        yield
        other.execute("ROLLBACK")


def test_a_busy_wallet_keeps_no_other_one_from_its_expiry(settings, capsys):
    settings.DATABASE_LOCK_TIMEOUT_MS = 100
    past = timezone.now() - timedelta(seconds=1)
    alice, bob, cleo = (make_wallet("5", expires_at=past) for _ in range(3))
    with held_by_somebody_else(bob), pytest.raises(CommandError, match="1 wallets were busy and are still due"):
        call_command("expire_grants")
    assert capsys.readouterr().out == "2 lots expired in 2 wallets.\n"
    assert [wallet_of(user_id)[0] for user_id in (alice, bob, cleo)] == [0, Decimal(5), 0]
    call_command("expire_grants")
    assert wallet_of(bob)[0] == 0


def test_a_busy_wallet_keeps_no_other_one_from_its_beta_credits(settings, capsys):
    settings.DATABASE_LOCK_TIMEOUT_MS = 100
    people = [make_user(f"{name}@example.com") for name in ("alice", "bob", "cleo")]
    alice, bob, cleo = (make_wallet("0", user_id=person.pk) for person in people)
    with held_by_somebody_else(bob), pytest.raises(CommandError, match="1 users could not be granted anything"):
        call_command("grant_beta_credits", "--amount", "5", "--all")
    assert capsys.readouterr().err.strip() == f"{bob}: This wallet is busy; please try again."
    assert [wallet_of(user_id)[0] for user_id in (alice, bob, cleo)] == [Decimal(5), 0, Decimal(5)]
    call_command("grant_beta_credits", "--amount", "5", "--all")
    assert [wallet_of(user_id)[0] for user_id in (alice, bob, cleo)] == [Decimal(5)] * 3

"""Threads and a barrier against real PostgreSQL: what must hold when everything happens at the same moment."""

from __future__ import annotations

from decimal import Decimal
from threading import Barrier

import pytest
from django.db import OperationalError, connection, transaction

from billing import ledger
from billing.errors import InsufficientCredits
from billing.ledger import NO_MODEL, Reference, Share
from billing.models import CreditGrant, CreditHold, CreditTransaction, CreditWallet
from billing.tests.makers import credits, make_call, make_hold, make_tool, make_wallet, settle, share
from config.core.ids import uuid7
from config.core.tests.racing import at_once
from config.core.transactions import retrying
from pricing.rating import TokenPools
from pricing.tests.makers import price_tool

pytestmark = pytest.mark.django_db(transaction=True)


def test_twenty_first_requests_make_one_wallet_and_one_beta_grant(settings):
    settings.BETA_GRANT_CREDITS = credits("3")
    user_id = uuid7()
    results = at_once(*[lambda: ledger.get_or_create_wallet(user_id=user_id)] * 20)
    assert {wallet.balance for wallet in results} == {Decimal(3)}
    assert CreditWallet.objects.filter(user_id=user_id).count() == 1
    assert CreditGrant.objects.filter(user_id=user_id).count() == 1


def test_money_for_one_hold_and_twenty_who_want_it():
    user_id = make_wallet("1")
    results = at_once(*[lambda: make_hold(user_id, "1")] * 20)
    assert sum(isinstance(result, Reference) for result in results) == 1
    assert sum(isinstance(result, InsufficientCredits) for result in results) == 19
    assert CreditHold.objects.filter(user_id=user_id).count() == 1
    assert CreditWallet.objects.get(user_id=user_id).held == Decimal(1)


def test_five_holds_fill_a_wallet_of_five_and_the_sixth_is_refused():
    user_id = make_wallet("5")
    results = at_once(*[lambda: make_hold(user_id, "1")] * 6)
    assert sum(isinstance(result, Reference) for result in results) == 5
    [refusal] = [result for result in results if not isinstance(result, Reference)]
    assert isinstance(refusal, InsufficientCredits)
    assert (refusal.balance, refusal.held, refusal.available) == (Decimal(5), Decimal(5), Decimal(0))
    wallet = CreditWallet.objects.get(user_id=user_id)
    assert (wallet.balance, wallet.held) == (Decimal(5), Decimal(5))
    assert CreditHold.objects.filter(user_id=user_id, status="open").count() == 5


def test_credits_for_one_tool_and_twelve_turns_that_want_it():
    user_id = make_wallet("13")
    price_tool("search", "1")
    references = [make_hold(user_id, "1") for _ in range(12)]

    def searching(reference):
        def work():
            shares = [share("1"), Share(NO_MODEL, credits("1"))]
            with transaction.atomic():
                ledger.extend_hold(user_id=user_id, reference=reference, shares=shares, enforcement="hard")
            return settle(user_id, reference, make_call(turn_id=reference.id), make_tool(turn_id=reference.id))

        return work

    results = at_once(*[searching(reference) for reference in references])
    # Each settlement takes what its hold has reserved, no more: nothing becomes free.
    assert sum(isinstance(result, InsufficientCredits) for result in results) == 11
    assert [result.charged for result in results if not isinstance(result, Exception)] == [Decimal(2)]
    wallet = CreditWallet.objects.get(user_id=user_id)
    assert (wallet.balance, wallet.held) == (Decimal(11), Decimal(11))


def test_grants_and_debits_at_once_are_all_there():
    user_id = make_wallet("10")
    references = [make_hold(user_id, "0.5") for _ in range(8)]

    def settling(reference):
        return lambda: settle(user_id, reference, make_call(TokenPools(output=5_000), turn_id=reference.id))

    def granting():
        return ledger.grant(user_id=user_id, amount=credits("1"), reason="race", initiated_by="test")

    results = at_once(*[settling(reference) for reference in references], *[granting] * 8)
    assert not [result for result in results if isinstance(result, Exception)]
    wallet = CreditWallet.objects.get(user_id=user_id)
    assert (wallet.balance, wallet.held) == (Decimal(14), Decimal(0))
    assert CreditTransaction.objects.filter(user_id=user_id).count() == 17


def test_one_hold_settled_by_eight_at_once_is_charged_once():
    user_id = make_wallet("10")
    reference = make_hold(user_id, "1")
    call = make_call(turn_id=reference.id)
    results = at_once(*[lambda: settle(user_id, reference, call)] * 8)
    assert [result.charged for result in results] == [Decimal(1)] * 8
    assert sum(result.settled_now for result in results) == 1
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(9)


def test_a_beta_campaign_granted_by_eight_at_once_is_granted_once():
    user_id = make_wallet("0")

    def granting():
        return ledger.grant(
            user_id=user_id, amount=credits("5"), reason="x", initiated_by="test", kind="beta", campaign="spring"
        )

    results = at_once(*[granting] * 8)
    assert sum(not isinstance(result, Exception) for result in results) == 1
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(5)


def test_expiry_run_by_four_at_once_takes_once():
    user_id = make_wallet("5")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credit_grants SET expires_at = now() - interval '1 second' WHERE user_id = %s", [user_id]
        )
    assert sum(at_once(*[lambda: ledger.expire_lots(user_id=user_id)] * 4)) == 1
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(0)


def test_a_wallet_locked_for_too_long_is_given_up_and_nothing_is_written(settings):
    settings.DATABASE_LOCK_TIMEOUT_MS = 100
    user_id = make_wallet("5")

    def impatient():
        return retrying(
            lambda: ledger.adjust(user_id=user_id, amount=credits("1"), reason="x", initiated_by="t"), attempts=2
        )

    with transaction.atomic():
        ledger.get_or_create_wallet(user_id=user_id)
        (result,) = at_once(impatient)
    assert isinstance(result, OperationalError)
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(5)


def test_a_deadlock_is_retried_and_the_sum_is_right():
    """Two transactions over two wallets in opposite orders: PostgreSQL ends one, which runs again and succeeds."""
    alice, bob = make_wallet("5"), make_wallet("5")
    met = Barrier(2)
    tries = []

    def both(first, second):
        def work():
            tries.append(first)
            with transaction.atomic():
                ledger.adjust(user_id=first, amount=credits("1"), reason="x", initiated_by="t")
                if len(tries) <= 2:
                    met.wait(timeout=20)
                ledger.adjust(user_id=second, amount=credits("1"), reason="x", initiated_by="t")

        return lambda: retrying(work)

    results = at_once(both(alice, bob), both(bob, alice))
    assert results == [None, None]
    assert len(tries) == 3
    assert {CreditWallet.objects.get(user_id=user).balance for user in (alice, bob)} == {Decimal(7)}

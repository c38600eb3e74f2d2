"""Where a refund goes, to the last place: an overdraft first, then the lots that paid, then a lot of its own."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from billing import ledger
from billing.ledger import Reference
from billing.models import CreditGrant, CreditTransaction, CreditWallet
from billing.tests.makers import charge, credits, make_wallet
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db


def lots(user_id):
    rows = CreditGrant.objects.filter(user_id=user_id).order_by("created_at", "id")
    return [(row.kind, str(row.remaining.normalize()), row.aliases) for row in rows]


def debits(user_id):
    rows = CreditTransaction.objects.filter(user_id=user_id, kind="debit").order_by("seq")
    return [Reference("entry", row.id) for row in rows]


def give_back(user_id, reference, amount=None):
    return ledger.refund(
        user_id=user_id, reference=reference, reason="test", initiated_by="staff",
        amount=None if amount is None else credits(amount),
    )  # fmt: skip


def expire_the_first_lot(user_id):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credit_grants SET expires_at = now() - interval '1 second' WHERE id = ("
            " SELECT id FROM credit_grants WHERE user_id = %s ORDER BY created_at LIMIT 1)", [user_id],
        )  # fmt: skip


def test_a_debit_is_refunded_into_the_lot_that_paid_it_and_not_into_one_that_paid_another_call_of_the_turn():
    user_id = make_wallet("1")
    make_wallet("5", user_id=user_id)
    charge(user_id, TokenPools(output=10_000), TokenPools(output=20_000))
    first, second = debits(user_id)
    give_back(user_id, first)
    assert lots(user_id) == [("promo", "1", []), ("promo", "3", [])]
    give_back(user_id, second)
    assert lots(user_id) == [("promo", "1", []), ("promo", "5", [])]


def test_a_debit_that_an_expired_lot_paid_is_not_refunded_into_the_lot_of_another_call():
    user_id = make_wallet("1", expires_at=timezone.now() + timedelta(minutes=1))
    make_wallet("5", user_id=user_id, kind="purchase")
    charge(user_id, TokenPools(output=10_000), TokenPools(output=20_000))
    expire_the_first_lot(user_id)
    give_back(user_id, debits(user_id)[0])
    assert lots(user_id) == [("promo", "0", []), ("purchase", "3", []), ("refund", "1", [])]


def test_what_came_out_of_a_closed_lot_keeps_its_scope_when_the_rest_repays_an_overdraft():
    user_id = make_wallet("2", expires_at=timezone.now() + timedelta(minutes=1), aliases=["gpt-4o-mini"])
    charge(user_id, TokenPools(output=50_000))
    expire_the_first_lot(user_id)
    give_back(user_id, debits(user_id)[0])
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(2)
    assert lots(user_id) == [("promo", "0", ["gpt-4o-mini"]), ("refund", "2", ["gpt-4o-mini"])]

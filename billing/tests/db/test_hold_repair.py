"""`check_ledger --repair-holds`: what nobody will close is closed, what somebody may is left alone."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection

from billing import references
from billing.models import CreditHold, CreditTransaction, CreditWallet
from billing.tests.db.test_invariants import check_ledger, damage, make_user
from billing.tests.makers import make_hold, make_wallet
from config.core.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.breaks_the_ledger]


@pytest.fixture
def people():
    return {name: make_wallet("10", user_id=make_user(f"{name}@example.com")) for name in ("alice", "bob")}


def make_late(*wanted):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credit_holds SET expires_at = now() - interval '1 hour' WHERE reference_id = ANY(%s)",
            [[reference.id for reference in wanted]],
        )


def wallet_of(user_id):
    return CreditWallet.objects.get(user_id=user_id)


def hold_of(reference):
    return CreditHold.objects.get(reference_id=reference.id)


def test_a_late_hold_of_work_that_does_not_exist_is_expired(people):
    late, fresh = make_hold(people["alice"], "2"), make_hold(people["alice"], "3")
    others = make_hold(people["bob"], "4")
    make_late(late)
    code, report = check_ledger("--repair-holds")
    assert code == 0
    wallet = wallet_of(people["alice"])
    assert report.splitlines()[0] == (
        f"repaired wallet {wallet.id} user alice@example.com: held 5.00000000 -> 3.00000000, 1 holds closed"
    )
    closed = hold_of(late)
    assert (closed.status, closed.charged, closed.balance_after) == ("expired", Decimal(0), Decimal(10))
    assert closed.closed_at is not None
    assert (wallet.held, wallet.balance) == (Decimal(3), Decimal(10))
    assert (hold_of(fresh).status, hold_of(others).status) == ("open", "open")
    assert wallet_of(people["bob"]).held == Decimal(4)
    assert CreditTransaction.objects.count() == 2


def test_it_is_done_once(people):
    make_late(make_hold(people["alice"], "2"))
    assert "repaired" in check_ledger("--repair-holds")[1]
    before = CreditHold.objects.get()
    assert "repaired" not in check_ledger("--repair-holds")[1]
    assert CreditHold.objects.get().closed_at == before.closed_at


def test_a_wrong_held_is_set_to_what_the_open_holds_come_to(people):
    make_hold(people["alice"], "2")
    damage("UPDATE credit_wallets SET held = 7 WHERE user_id = %(user)s", user=people["alice"])
    assert check_ledger()[0] == 1
    code, report = check_ledger("--repair-holds")
    assert code == 0
    assert "held 7.00000000 -> 2.00000000, 0 holds closed" in report
    assert wallet_of(people["alice"]).held == Decimal(2)


def test_work_that_is_not_over_keeps_its_hold(people, monkeypatch):
    running, over = make_hold(people["alice"], "2"), make_hold(people["alice"], "3")
    make_late(running, over)
    monkeypatch.setitem(references._known, "turn", lambda ids: set(ids) & {over.id})
    code, report = check_ledger("--repair-holds")
    # What is left is a finding still: somebody has to recover it.
    assert code == 1
    assert "held 5.00000000 -> 2.00000000, 1 holds closed" in report
    assert (hold_of(running).status, hold_of(over).status) == ("open", "expired")


def test_of_work_that_nobody_knows_about_nothing_is_touched(people):
    reference = make_hold(people["alice"], "2")
    damage("UPDATE credit_holds SET reference_type = 'mystery', expires_at = now() - interval '1 hour'"
           " WHERE reference_id = %(id)s", id=reference.id)  # fmt: skip
    code, report = check_ledger("--repair-holds")
    assert code == 1
    assert "repaired" not in report
    assert hold_of(reference).status == "open"


def test_a_wallet_can_be_repaired_by_itself(people):
    make_late(make_hold(people["alice"], "2"), make_hold(people["bob"], "2"))
    assert "alice@example.com" in check_ledger("--repair-holds", "--user", "alice@example.com")[1]
    assert (wallet_of(people["alice"]).held, wallet_of(people["bob"]).held) == (Decimal(0), Decimal(2))


def test_references_are_asked_by_their_type(monkeypatch):
    monkeypatch.setattr(references, "_known", {})
    one, two, three = uuid7(), uuid7(), uuid7()
    references.register("a", lambda ids: {ids[0]})
    references.register("b", set)
    found = references.over([("a", one), ("a", two), ("b", three), ("c", one)])
    assert found == {("a", one), ("b", three)}

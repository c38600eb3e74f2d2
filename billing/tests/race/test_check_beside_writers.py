"""Checks, anchors and repairs at the same moment as the work that they look at, and as each other."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from threading import Barrier

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import anchors, closing, references
from billing.checking import check_everything, check_some
from billing.hold_repair import repair_all_holds
from billing.ledger import get_or_create_wallet
from billing.models import CreditHold, CreditWallet, LedgerAnchor, LedgerCheck, LedgerCheckpoint
from billing.tests.makers import charge, make_call, make_hold, make_wallet, settle
from config.core.tests.racing import at_once
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db(transaction=True)
ONE = TokenPools(output=10_000)


def test_a_settlement_in_the_middle_of_a_batch_is_not_waited_for_and_not_half_seen(settings):
    """The check's snapshot is open while the wallet that it reads is written to: neither waits, nothing is found."""
    settings.DATABASE_LOCK_TIMEOUT_MS = 2_000
    user_id = make_wallet("10")
    charge(user_id, ONE)
    reading, written = Barrier(2), Barrier(2)

    def checking():
        met = []

        def progress(done):
            # The entries are read; the events of this batch are not.
            if done.entries and not met:
                met.append(done)
                reading.wait(timeout=20)
                written.wait(timeout=20)

        found = []
        check_everything(report=found.append, progress=progress)
        return found

    def working():
        reading.wait(timeout=20)
        charge(user_id, ONE, ONE)
        written.wait(timeout=20)

    assert at_once(checking, working) == [[], None]
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(7)
    # What the check did not see is new to the next one.
    assert LedgerCheckpoint.objects.get().seq == 2
    found = []
    assert check_some(only_new=True, report=found.append).entries_checked == 3
    assert found == []


def test_four_checks_at_once_beside_twelve_writers():
    people = [make_wallet("50") for _ in range(3)]
    found = []

    def checking(only_new):
        return lambda: (check_some(only_new=True, report=found.append) if only_new
                        else check_everything(report=found.append)).violations  # fmt: skip

    def working(user_id):
        return lambda: [charge(user_id, ONE) for _ in range(5)] and 0

    work = [working(user_id) for user_id in people * 4]
    results = at_once(checking(False), checking(False), checking(True), checking(True), *work)
    assert results == [0] * 16
    assert found == []
    assert LedgerCheck.objects.count() == 2
    assert {wallet.balance for wallet in CreditWallet.objects.all()} == {Decimal(30)}


def test_four_who_anchor_one_time_make_one_anchor(monkeypatch):
    monkeypatch.setattr(closing, "MARGIN_S", 0)
    make_wallet("5")
    as_of = timezone.now()
    results = at_once(*[lambda: anchors.make_anchor(as_of)] * 4)
    assert {anchor.pk if anchor else None for anchor in results} <= {LedgerAnchor.objects.get().pk, None}
    # Whoever found another's transaction open is told to come again.
    assert anchors.make_anchor(as_of).wallets == 1


def test_a_time_is_not_anchored_while_a_writing_transaction_from_before_it_is_open(monkeypatch):
    monkeypatch.setattr(closing, "MARGIN_S", 0)
    user_id = make_wallet("5")
    locked, tried = Barrier(2), Barrier(2)

    def writing():
        with transaction.atomic():
            get_or_create_wallet(user_id=user_id)
            locked.wait(timeout=20)
            tried.wait(timeout=20)

    def anchoring():
        locked.wait(timeout=20)
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (as_of,) = cursor.fetchone()
        try:
            return anchors.make_anchor(as_of), as_of
        finally:
            tried.wait(timeout=20)

    _, (anchor, as_of) = at_once(writing, anchoring)
    assert anchor is None
    assert anchors.make_anchor(as_of).entries == 1


def test_a_hold_that_is_settled_and_repaired_at_once_has_one_outcome(monkeypatch):
    """Whoever comes second finds it closed.

    The repair is told that the work is over, which no settlement lets happen. What matters is that the wallet agrees
    with its holds, and that the balance moves by the debit or not at all.
    """
    monkeypatch.setitem(references._known, "turn", set)
    user_id = make_wallet("10")
    held = [make_hold(user_id, "1") for _ in range(4)]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE credit_holds SET expires_at = now() - interval '1 hour'")

    def settling(reference):
        return lambda: settle(user_id, reference, make_call(ONE, turn_id=reference.id))

    at_once(*[settling(reference) for reference in held], *[lambda: list(repair_all_holds())] * 4)
    wallet = CreditWallet.objects.get(user_id=user_id)
    settled = CreditHold.objects.filter(status="settled").count()
    assert CreditHold.objects.filter(status="expired").count() == 4 - settled
    assert (wallet.held, wallet.balance) == (Decimal(0), Decimal(10 - settled))


def test_anchors_of_now_beside_writers_stay_true():
    """Whoever posts before the clock is read is in the anchor, whoever posts later is not: nobody is in between."""
    users = [make_wallet("10") for _ in range(6)]

    def posting(user_id):
        for _ in range(5):
            charge(user_id, ONE)

    def anchoring():
        for _ in range(5):
            anchors.make_anchor_now()

    results = at_once(*[partial(posting, user_id) for user_id in users], anchoring, anchoring)
    assert results == [None] * 8
    made = list(LedgerAnchor.objects.values_list("as_of", "anchor_hash"))
    assert len(made) == 10
    assert list(anchors.verify_anchors(made)) == []
    assert {CreditWallet.objects.get(user_id=user_id).balance for user_id in users} == {Decimal(5)}

"""Corrections, limits and work at the same moment: threads and a barrier against real PostgreSQL."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import pytest

from billing import ledger
from billing.corrections import services as corrections
from billing.corrections.meanwhile import unless_corrected
from billing.errors import NothingToVoid, RefundExceedsDebit, SpendingLimitReached
from billing.ledger import Place, Reference
from billing.limits import services as limits
from billing.models import CreditGrant, CreditHold, CreditTransaction, CreditWallet, ShadowRefusal, SpendingLimit
from billing.tests.makers import charge, credits, make_call, make_hold, make_wallet, settle, share
from config.core.errors import IdempotencyKeyReused, ValidationFailed
from config.core.idempotency import Claim, fingerprint
from config.core.ids import uuid7
from config.core.tests.racing import at_once
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db(transaction=True)
ONE = TokenPools(output=10_000)


def balance(user_id):
    return CreditWallet.objects.get(user_id=user_id).balance


def entries(user_id, kind):
    return list(CreditTransaction.objects.filter(user_id=user_id, kind=kind).order_by("seq"))


def test_a_debit_refunded_by_eight_at_once_is_given_back_once():
    user_id = make_wallet("5")
    charge(user_id, ONE)
    [debit] = entries(user_id, "debit")

    def refunding():
        reference = Reference("entry", debit.id)
        return ledger.refund(user_id=user_id, reference=reference, reason="race", initiated_by="t")

    results = at_once(*[refunding] * 8)
    assert sum(isinstance(result, RefundExceedsDebit) for result in results) == 7
    assert (len(entries(user_id, "refund")), balance(user_id)) == (1, Decimal(5))


def test_parts_of_a_turn_refunded_at_once_never_come_to_more_than_it_took():
    user_id = make_wallet("9")
    charge(user_id, ONE, ONE)
    one, two = entries(user_id, "debit")
    targets = [Reference("entry", one.id), Reference("entry", two.id), Reference("turn", one.reference_id)] * 4

    def refunding(reference):
        return lambda: ledger.refund(
            user_id=user_id, reference=reference, amount=credits("0.3"), reason="race", initiated_by="t"
        )

    results = at_once(*[refunding(reference) for reference in targets])
    refunded = sum(entry.amount for entry in entries(user_id, "refund"))
    assert sum(isinstance(result, RefundExceedsDebit) for result in results) == 12 - len(entries(user_id, "refund"))
    # Six times 0.3 fit into the turn; a debit of 1 takes three of its own.
    assert refunded == Decimal("1.8")
    assert balance(user_id) == Decimal("8.8")


def test_a_grant_voided_by_eight_at_once_is_voided_once_and_all_get_its_entry():
    user_id = make_wallet("5")
    grant = CreditGrant.objects.get(user_id=user_id)

    def voiding():
        return corrections.void_once(None, grant_id=grant.id, reason="race", initiated_by="t")

    results = at_once(*[voiding] * 8)
    assert {entry.id for entry, _ in results} == {entries(user_id, "adjustment")[0].id}
    assert sum(is_replay for _, is_replay in results) == 7
    assert balance(user_id) == 0


def test_a_void_and_settlements_at_once_leave_every_credit_accounted_for():
    user_id = make_wallet("10")
    grant = CreditGrant.objects.get(user_id=user_id)
    references = [make_hold(user_id, "1") for _ in range(6)]

    def settling(reference):
        return lambda: settle(user_id, reference, make_call(turn_id=reference.id))

    def voiding():
        return ledger.void(user_id=user_id, grant_id=grant.id, reason="race", initiated_by="t")

    results = at_once(*[settling(reference) for reference in references], voiding, voiding)
    assert sum(isinstance(result, NothingToVoid) for result in results) == 1
    voided = -entries(user_id, "adjustment")[0].amount
    assert balance(user_id) == Decimal(10) - 6 - voided
    assert CreditWallet.objects.get(user_id=user_id).held == 0


def test_twenty_who_want_the_last_of_a_limit():
    user_id, room = make_wallet("100"), uuid7()
    with_room = {"subject": "user", "subject_id": user_id, "period": "day", "tz": "UTC", "set_by": "t"}
    limits.create(user_id=user_id, amount=credits("1"), **with_room)
    place = Place(room_id=room)
    results = at_once(*[lambda: make_hold(user_id, "1", place=place)] * 20)
    assert sum(isinstance(result, Reference) for result in results) == 1
    assert sum(isinstance(result, SpendingLimitReached) for result in results) == 19
    assert CreditHold.objects.filter(user_id=user_id).count() == 1


def test_what_is_settled_while_a_limit_is_made_is_counted_once():
    user_id = make_wallet("100")
    references = [make_hold(user_id, "1") for _ in range(8)]

    def settling(reference):
        return lambda: settle(user_id, reference, make_call(turn_id=reference.id))

    def limiting():
        return limits.create(
            user_id=user_id, subject="user", subject_id=user_id, period="day", amount=credits("50"), tz="UTC",
            set_by="t",
        )  # fmt: skip

    results = at_once(*[settling(reference) for reference in references[:4]], limiting,
                      *[settling(reference) for reference in references[4:]])  # fmt: skip
    assert not [result for result in results if isinstance(result, Exception)]
    assert SpendingLimit.objects.get(user_id=user_id).spent == Decimal(8)


def test_a_refusal_is_written_down_once_however_many_extend():
    user_id = make_wallet("1")
    reference = make_hold(user_id, "1", enforcement="warn")

    def extending():
        ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("3")], enforcement="warn")

    assert at_once(*[extending] * 6) == [None] * 6
    assert ShadowRefusal.objects.filter(reference_id=reference.id).count() == 1
    assert CreditWallet.objects.get(user_id=user_id).held == Decimal(3)


# One key


def claim_for(caller, key="retry", body="the same"):
    return Claim(caller, key, fingerprint(method="POST", path="/somewhere", body=body))


def test_eight_retries_of_a_refund_of_all_that_is_left_find_the_one_refund():
    user_id, staff = make_wallet("5"), uuid7()
    charge(user_id, ONE)
    [debit] = entries(user_id, "debit")

    def refunding():
        return corrections.post_once(
            claim_for(staff),
            lambda: ledger.refund(
                user_id=user_id,
                reference=Reference("entry", debit.id),
                reason="race",
                initiated_by="t",
                idempotency_key="retry",
            ),
        )

    results = at_once(*[refunding] * 8)
    [refund] = entries(user_id, "refund")
    assert sorted((entry.id, is_replay) for entry, is_replay in results) == [(refund.id, False)] + 7 * [
        (refund.id, True)
    ]


def test_eight_retries_of_a_campaigns_grant_find_the_one_grant():
    user_id, staff = uuid7(), uuid7()

    def granting():
        return corrections.post_once(
            claim_for(staff),
            lambda: ledger.grant(
                user_id=user_id,
                amount=credits("1"),
                kind="beta",
                campaign="autumn",
                reason="race",
                initiated_by="t",
                idempotency_key="retry",
            ),
        )

    results = at_once(*[granting] * 8)
    granted = CreditTransaction.objects.get(user_id=user_id, grant_id__in=CreditGrant.objects.filter(campaign="autumn"))
    assert sorted((entry.id, is_replay) for entry, is_replay in results) == [(granted.id, False)] + 7 * [
        (granted.id, True)
    ]


def test_two_different_voids_with_one_key_at_once_are_one_void_and_one_refusal():
    user_id, staff = make_wallet("5"), uuid7()
    grant = CreditGrant.objects.get(user_id=user_id)

    def voiding(reason):
        return lambda: corrections.void_once(
            claim_for(staff, body=reason), grant_id=grant.id, reason=reason, initiated_by="t"
        )

    results = at_once(*[voiding("one"), voiding("two")] * 3)
    [entry] = entries(user_id, "adjustment")
    refused = [result for result in results if isinstance(result, IdempotencyKeyReused)]
    assert (len(refused), entry.amount) == (3, Decimal(-5))
    assert {result[0].id for result in results if not isinstance(result, IdempotencyKeyReused)} == {entry.id}


def test_of_eight_who_looked_at_the_same_wallet_one_corrects_it_and_the_others_are_told():
    user_id = make_wallet("5")
    seen = CreditWallet.objects.get(user_id=user_id).last_seq

    def refunding():
        make = partial(ledger.grant, user_id=user_id, amount=credits("1"), reason="sorry", initiated_by="t")
        return corrections.post_once(None, unless_corrected(make, user_id=user_id, since=seen))

    results = at_once(*[refunding] * 8)
    refused = [result for result in results if isinstance(result, ValidationFailed)]
    assert (len(refused), balance(user_id)) == (7, Decimal(6))
    assert {str(result) for result in refused} == {
        "Posted since you looked: Grant of 1.00000000, entry 2 (sorry). Look once more before you do this, too."
    }

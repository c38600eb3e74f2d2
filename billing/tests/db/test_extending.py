"""Holds that are extended while the wallet under them changes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import ledger
from billing.errors import InsufficientCredits, SpendingLimitReached
from billing.limits import services as limits
from billing.models import CreditGrant, CreditHold, CreditWallet, SpendingLimit
from billing.tests.makers import credits, make_call, make_hold, make_wallet, settle, share
from config.core.errors import ValidationFailed
from config.core.ids import uuid7

pytestmark = pytest.mark.django_db


def extend(user_id, reference, *shares):
    ledger.extend_hold(user_id=user_id, reference=reference, shares=shares, enforcement="hard")


def held(user_id):
    return CreditWallet.objects.get(user_id=user_id).held


@pytest.mark.parametrize("aliases", [[], ["gpt-4o-mini"]], ids=["for everything", "scoped"])
def test_a_hold_that_does_not_grow_keeps_what_it_reserves_of_a_lot_that_expires_meanwhile(aliases):
    user_id = make_wallet("5", expires_at=timezone.now() + timedelta(minutes=1), aliases=aliases)
    reference = make_hold(user_id, "3")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credit_grants SET expires_at = now() - interval '1 second' WHERE user_id = %s", [user_id]
        )
    extend(user_id, reference, share("1"), share("2"))
    assert held(user_id) == CreditHold.objects.get(user_id=user_id).amount == Decimal(3)
    with pytest.raises(InsufficientCredits), transaction.atomic():
        extend(user_id, reference, share("1"), share("2.00000001"))
    assert held(user_id) == Decimal(3)


@pytest.mark.parametrize("is_limited", [False, True], ids=["without limits", "with a limit far off"])
def test_a_hold_that_does_not_grow_asks_nothing_of_a_wallet_that_was_voided_meanwhile(is_limited):
    user_id = make_wallet("5")
    if is_limited:
        limits.create(user_id=user_id, subject="user", subject_id=user_id, period="day", amount=credits("100"),
                      tz="UTC", is_staff_set=False, set_by="test")  # fmt: skip
    reference = make_hold(user_id, "5")
    lot = CreditGrant.objects.get(user_id=user_id)
    ledger.void(user_id=user_id, grant_id=lot.id, reason="test", initiated_by="staff")
    extend(user_id, reference, share("2"), share("3"))
    with pytest.raises(InsufficientCredits), transaction.atomic():
        extend(user_id, reference, share("2"), share("3.00000001"))
    assert held(user_id) == CreditHold.objects.get(user_id=user_id).amount == Decimal(5)


def test_a_limit_that_is_made_while_work_runs_counts_what_that_work_holds_by_then():
    """The hold was placed for one agent and is for another one by now, within its size."""
    user_id, first, second = make_wallet("20"), uuid7(), uuid7()
    reference = make_hold(user_id, "5", agent_id=first)
    extend(user_id, reference, share("5", agent_id=second))
    limits.create(user_id=user_id, subject="user", subject_id=user_id, period="day", amount=credits("100"), tz="UTC",
                  set_by="test")  # fmt: skip
    SpendingLimit.objects.filter(user_id=user_id).update(subject="agent", subject_id=second, amount=credits("5"))
    [status] = limits.status_of(user_id)
    assert status.held == Decimal(5)
    with pytest.raises(SpendingLimitReached), transaction.atomic():
        make_hold(user_id, "0.00000001", agent_id=second)
    make_hold(user_id, "5", agent_id=first)


def test_credits_that_people_post_leave_room_to_settle_what_runs():
    user_id = make_wallet("1")
    reference = make_hold(user_id, "1")
    for amount in ("-9999999999", "-9000000001"):
        with pytest.raises(ValidationFailed), transaction.atomic():
            ledger.adjust(user_id=user_id, amount=credits(amount), reason="test", initiated_by="staff")
    ledger.adjust(user_id=user_id, amount=credits("-8999999999"), reason="test", initiated_by="staff")
    # Back towards zero is never refused.
    ledger.adjust(user_id=user_id, amount=credits("1"), reason="test", initiated_by="staff")
    settle(user_id, reference, make_call(turn_id=reference.id))
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(-8_999_999_998)

"""What `warn` writes down, and enforcement for one user."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing import enforcement, ledger
from billing.errors import InsufficientCredits
from billing.ledger import Share
from billing.models import CreditHold, ShadowRefusal
from billing.tests.makers import credits, make_hold, make_wallet, share
from config.core.money import ledger_text

pytestmark = pytest.mark.django_db


def refusals(user_id):
    rows = ShadowRefusal.objects.filter(user_id=user_id)
    return [(row.stage, row.model_alias, ledger_text(row.available), ledger_text(row.required)) for row in rows]


def test_warn_lets_through_and_writes_down_what_hard_would_refuse():
    user_id = make_wallet("1")
    fits, too_much = make_hold(user_id, "1", enforcement="warn"), make_hold(user_id, "0.5", enforcement="warn")
    assert refusals(user_id) == [("opening", "gpt-4o-mini", "0.00000000", "0.50000000")]
    row = ShadowRefusal.objects.get(user_id=user_id)
    assert (row.reference_id, row.balance, row.held) == (too_much.id, Decimal(1), Decimal(1))
    assert CreditHold.objects.filter(reference_id__in=[fits.id, too_much.id], status="open").count() == 2


def test_what_hard_would_have_ended_early_is_written_down_once():
    user_id = make_wallet("1")
    reference = make_hold(user_id, "0.5", enforcement="warn")
    for amount in ("1", "1.5", "2"):
        ledger.extend_hold(user_id=user_id, reference=reference, shares=[share(amount)], enforcement="warn")
    assert refusals(user_id) == [("between_calls", "gpt-4o-mini", "0.00000000", "0.50000000")]


def test_off_and_hard_write_nothing_down():
    user_id = make_wallet("1")
    make_hold(user_id, "5", enforcement="off")
    with pytest.raises(InsufficientCredits):
        make_hold(user_id, "5", enforcement="hard")
    assert refusals(user_id) == []


def test_what_the_work_could_do_without_is_no_refusal():
    user_id = make_wallet("1")
    shares = [Share("gpt-4o", credits("3")), share("1")]
    reference = ledger.Reference("turn", ledger.get_or_create_wallet(user_id=user_id).id)
    ledger.place_hold(
        user_id=user_id, reference=reference, shares=shares, enforcement="warn", essential=shares[1:]
    )  # fmt: skip
    assert refusals(user_id) == []
    assert CreditHold.objects.get(reference_id=reference.id).amount == Decimal(4)


def test_a_users_enforcement_goes_before_the_deployments(settings):
    settings.CREDIT_ENFORCEMENT = "warn"
    alice, bob = make_wallet("1"), make_wallet("1")
    enforcement.set_for_user(user_id=alice, enforcement="hard", updated_by="staff")
    assert [enforcement.current(user_id=user) for user in (alice, bob)] == ["hard", "warn"]
    enforcement.set_override(enforcement="off", updated_by="staff")
    assert [enforcement.current(user_id=user) for user in (alice, bob)] == ["hard", "off"]
    assert enforcement.describe(user_id=alice)["source"] == "user"
    assert enforcement.describe(user_id=bob)["source"] == "override"
    enforcement.clear_for_user(user_id=alice, cleared_by="staff")
    enforcement.clear_override(cleared_by="staff")
    assert enforcement.describe(user_id=alice) == {
        "enforcement": "warn", "source": "environment", "environment": "warn", "updated_by": None,
    }  # fmt: skip

"""Every page of the admin opens, with rows in it, for whoever may see it; money and turns cannot be edited there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django.test import Client
from django.utils import timezone

from billing.anchors import make_anchor
from billing.costs import compare_missed
from billing.models import Alert, AlertDelivery, CreditTransaction, CreditWallet, LedgerCheck
from billing.tests.makers import charge, make_hold
from pricing.rating import TokenPools
from sessions_app.models import SessionSummary, TurnContextAudit
from sessions_app.tests.makers import make_ended_turn, make_person, make_session
from users.models import User

pytestmark = pytest.mark.django_db

PAGES = sorted(f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry)
# What staff set, not what happened.
SETTINGS = {
    f"billing/{name}" for name in ("enforcementoverride", "spendinglimit", "userenforcement", "webhookendpoint")
}
READ_ONLY = [page for page in PAGES if page.startswith(("billing/", "sessions_app/")) and page not in SETTINGS]


@pytest.fixture
def alice():
    alice = make_person("alice")
    turn = make_ended_turn(alice, make_session(alice, "ann"))
    SessionSummary.objects.create(
        session=turn.session,
        turn=turn,
        model_alias="gpt-4o",
        used_fallback=True,
        fallback_reason="unreadable",
        messages=0,
    )
    columns = {field.name: 0 for field in TurnContextAudit._meta.fields if field.get_internal_type() == "IntegerField"}
    TurnContextAudit.objects.create(
        turn=turn, session=turn.session, strategy="pruned", explanation="It did not fit.", model_alias="gpt-4o",
        summary_used_fallback=True, exact=False, calls=[], **columns,
    )  # fmt: skip
    LedgerCheck.objects.create(
        started_at=timezone.now(), finished_at=timezone.now(), wallets_checked=1, violations=0, ok=True
    )
    # Below the threshold, and further than the wallet reaches.
    charge(alice.id, TokenPools(output=60_000))
    make_hold(alice.id, "1")
    make_hold(alice.id, "50", enforcement="warn")
    AlertDelivery.objects.create(alert=Alert.objects.get(user_id=alice.id), user_id=alice.id)
    compare_missed(timezone.now() + timedelta(days=1))
    make_anchor(timezone.now() - timedelta(days=1))
    return alice


@pytest.fixture
def browser():
    staff = make_person("staff", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(User.objects.get(pk=staff.id))
    return client


@pytest.mark.parametrize("page", PAGES)
def test_a_list_opens_and_searches(alice, browser, page):
    assert browser.get(f"/admin/{page}/").status_code == 200
    assert browser.get(f"/admin/{page}/?q={alice.id}").status_code == 200
    assert browser.get(f"/admin/{page}/?q=nothing%27;--").status_code == 200


@pytest.mark.parametrize("page", READ_ONLY)
def test_a_row_of_money_or_of_a_turn_opens_and_cannot_be_edited(alice, browser, page):
    model = next(m for m in admin.site._registry if f"{m._meta.app_label}/{m._meta.model_name}" == page)
    assert browser.get(f"/admin/{page}/add/").status_code == 403
    row = model.objects.first()
    assert row is not None
    assert browser.get(f"/admin/{page}/{row.pk}/change/").status_code == 200
    assert browser.post(f"/admin/{page}/{row.pk}/change/", {"amount": "5"}).status_code == 403
    assert browser.post(f"/admin/{page}/{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_money_pages_name_the_owner(alice, browser):
    page = browser.get("/admin/billing/credittransaction/").content.decode()
    assert alice.email in page
    assert CreditTransaction.objects.filter(user_id=alice.id).count() == 2


def test_nobody_else_enters(alice):
    client = Client()
    client.force_login(User.objects.get(pk=alice.id))
    for page in PAGES:
        assert client.get(f"/admin/{page}/").status_code == 302
    assert CreditWallet.objects.filter(user_id=alice.id).count() == 1

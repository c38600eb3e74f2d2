"""Every page of the admin opens, with rows in it, for whoever may see it; money and turns cannot be edited there."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client

from billing.models import CreditTransaction, CreditWallet
from sessions_app.tests.admin_rows import make_admin_rows
from sessions_app.tests.makers import make_person
from users.models import User

pytestmark = pytest.mark.django_db

PAGES = sorted(f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry)
# What staff set, not what happened.
SETTINGS = {
    f"billing/{name}" for name in ("enforcementoverride", "spendinglimit", "userenforcement", "webhookendpoint")
}
# Reports are one page; their rows are nothing to look at.
SETTINGS = {*SETTINGS, "billing/usagetotal"}
READ_ONLY = [page for page in PAGES if page.startswith(("billing/", "sessions_app/")) and page not in SETTINGS]


@pytest.fixture
def alice():
    return make_admin_rows()


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

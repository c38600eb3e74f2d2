"""Corrections in the admin: seen before they are done, done once, by whoever may."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from billing import enforcement
from billing.limits import services
from billing.models import (
    CreditGrant,
    CreditTransaction,
    CreditWallet,
    EnforcementOverride,
    SpendingLimit,
    UserEnforcement,
)  # fmt: skip
from billing.tests.makers import charge, make_hold
from config.core.ids import uuid7
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_person
from users.models import User

pytestmark = pytest.mark.django_db
ONE = TokenPools(output=10_000)


def browser_of(person):
    client = Client()
    client.force_login(User.objects.get(pk=person.id))
    return client


@pytest.fixture
def boss():
    return make_person("boss", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(boss):
    return browser_of(boss)


@pytest.fixture
def alice():
    return make_person("alice")


def wallet_of(person):
    return CreditWallet.objects.get(user_id=person.id)


def entries(person):
    rows = CreditTransaction.objects.filter(user_id=person.id).order_by("seq")
    return [(row.kind, str(row.amount)) for row in rows]


def url_of(person, action):
    """The page of a correction: of the wallet, of its debit, of its first grant."""
    if action == "refund":
        debit = CreditTransaction.objects.get(user_id=person.id, kind="debit")
        return f"/admin/billing/credittransaction/{debit.id}/refund/"
    if action == "void":
        return f"/admin/billing/creditgrant/{CreditGrant.objects.filter(user_id=person.id).earliest('id').id}/void/"
    return f"/admin/billing/creditwallet/{wallet_of(person).id}/{action}/"


GRANT = {"amount": "2.5", "kind": "promo", "priority": "50", "reason": "welcome"}
FORMS = {
    "grant": (GRANT, ("grant", "2.50000000"), "11.5"),
    "adjust": ({"amount": "-1.25", "reason": "wrong"}, ("adjustment", "-1.25000000"), "7.75"),
    "refund": ({"what": "entry", "reason": "slow"}, ("refund", "1.00000000"), "10"),
    "void": ({"reason": "chargeback"}, ("adjustment", "-9.00000000"), "0"),
}
PERMISSIONS = {
    "grant": "add_creditgrant",
    "adjust": "add_credittransaction",
    "refund": "add_credittransaction",
    "void": "change_creditgrant",
}


@pytest.mark.parametrize("action", FORMS)
def test_a_correction_is_shown_first_and_then_done_once(browser, boss, alice, action):
    charge(alice.id, ONE)
    fields, entry, balance = FORMS[action]
    url, before = url_of(alice, action), entries(alice)
    token = str(uuid7())
    assert browser.get(url).status_code == 200
    preview = browser.post(url, {**fields, "token": token})
    assert preview.status_code == 200
    assert f'9.00000000 &rarr; <span class="after">{Decimal(balance):.8f}</span>' in preview.content.decode()
    assert entries(alice) == before
    done = browser.post(url, {**fields, "token": token, "confirmed": "1"}, follow=True)
    assert done.redirect_chain == [(f"/admin/billing/creditwallet/{wallet_of(alice).id}/change/", 302)]
    assert entries(alice) == [*before, entry]
    # The same form once more, as a double click sends it.
    again = browser.post(url, {**fields, "token": token, "confirmed": "1"}, follow=True)
    assert "had been sent already" in again.content.decode()
    assert entries(alice) == [*before, entry]
    assert wallet_of(alice).balance == Decimal(balance)
    row = CreditTransaction.objects.filter(user_id=alice.id).latest("seq")
    assert (row.initiated_by, row.reason) == (str(boss.id), fields["reason"])
    assert LogEntry.objects.filter(object_id=wallet_of(alice).id).count() == 1


@pytest.mark.parametrize("action", FORMS)
def test_only_who_may_corrects(alice, action):
    charge(alice.id, ONE)
    fields = {**FORMS[action][0], "token": str(uuid7()), "confirmed": "1"}
    url, before = url_of(alice, action), entries(alice)
    clerk = make_person("clerk", is_staff=True)
    user = User.objects.get(pk=clerk.id)
    for name in ("view_creditwallet", "view_credittransaction", "view_creditgrant"):
        user.user_permissions.add(Permission.objects.get(codename=name))
    assert browser_of(clerk).post(url, fields).status_code == 403
    assert browser_of(clerk).get(url).status_code == 403
    assert browser_of(alice).post(url, fields).status_code == 302
    assert Client().post(url, fields).status_code == 302
    assert entries(alice) == before
    user.user_permissions.add(Permission.objects.get(codename=PERMISSIONS[action]))
    assert browser_of(clerk).post(url, fields).status_code == 302
    assert len(entries(alice)) == len(before) + 1


@pytest.mark.parametrize("action", ["grant", "adjust", "refund"])
@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1e400", "0.000000001", "12345678901", "0", "٣", " ", "1,5"])
def test_a_bad_amount_moves_nothing(browser, alice, action, amount):
    charge(alice.id, ONE)
    before = entries(alice)
    fields = {**FORMS[action][0], "amount": amount, "token": str(uuid7()), "confirmed": "1"}
    answer = browser.post(url_of(alice, action), fields)
    if action == "refund" and amount == " ":
        # Nothing named: all that is left.
        assert len(entries(alice)) == len(before) + 1
        return
    assert answer.status_code == 422
    assert entries(alice) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": ""}, {"reason": "x" * 501}, {"kind": "adjustment"}, {"priority": "101"}, {"aliases": "gpt-99"},
        {"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, {"token": ""}, {"token": "x"}, {"amount": "-1"},
    ],
)  # fmt: skip
def test_a_bad_grant_moves_nothing(browser, alice, fields):
    before = entries(alice)
    answer = browser.post(url_of(alice, "grant"), {**GRANT, "token": str(uuid7()), "confirmed": "1", **fields})
    assert answer.status_code == 422
    assert entries(alice) == before


def test_a_scoped_grant_that_expires_is_made_as_it_was_confirmed(browser, alice):
    fields = {
        **GRANT,
        "aliases": ["gpt-4o"],
        "expires_at_0": "2099-01-01",
        "expires_at_1": "12:00",
        "token": str(uuid7()),
    }
    preview = browser.post(url_of(alice, "grant"), fields).content.decode()
    assert "gpt-4o" in preview
    assert "2099-01-01 12:00" in preview
    browser.post(url_of(alice, "grant"), {**fields, "confirmed": "1"})
    lot = CreditGrant.objects.filter(user_id=alice.id).latest("id")
    assert (lot.aliases, lot.expires_at.isoformat()) == (["gpt-4o"], "2099-01-01T12:00:00+00:00")


def test_a_form_that_is_sent_again_after_its_grant_expired_shows_what_it_made(browser, alice):
    now = timezone.now()
    sent = {
        **GRANT, "expires_at_0": f"{now + timedelta(days=1):%Y-%m-%d}", "expires_at_1": "00:00",
        "token": str(uuid7()), "confirmed": "1",
    }  # fmt: skip
    url = url_of(alice, "grant")
    with time_machine.travel(now, tick=False) as clock:
        assert browser.post(url, sent).status_code == 302
        clock.shift(timedelta(days=2))
        again = browser.post(url, sent, follow=True)
        assert "had been sent already" in again.content.decode()
        changed = browser.post(url, {**sent, "amount": "3"})
        assert (changed.status_code, b"Must lie in the future." in changed.content) == (422, True)
    assert entries(alice)[1:] == [("grant", "2.50000000")]


def confirmation_of(page):
    """What the button of a preview sends."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.content.decode())
    return {name: value for name, value in found if name != "csrfmiddlewaretoken"}


@pytest.mark.parametrize("action", FORMS)
def test_of_two_staff_at_once_the_second_is_shown_what_the_first_did(browser, alice, action):
    charge(alice.id, ONE)
    other = browser_of(make_person("other", is_staff=True, is_superuser=True))
    fields, url = FORMS[action][0], url_of(alice, action)
    adjusting = url_of(alice, "adjust")
    seen = confirmation_of(browser.post(url, {**fields, "token": str(uuid7())}))
    first = confirmation_of(other.post(adjusting, {"amount": "-0.5", "reason": "a slip", "token": str(uuid7())}))
    assert other.post(adjusting, first).status_code == 302
    # What turns take is no reason to look again.
    charge(alice.id, ONE)
    before = entries(alice)
    answer = browser.post(url, {**fields, **seen})
    assert answer.status_code == 422
    assert "Posted since you looked: Adjustment of -0.50000000, entry 3 (a slip)" in answer.content.decode()
    assert entries(alice) == before
    again = browser.post(url, {**fields, "token": seen["token"]})
    charge(alice.id, ONE)
    assert browser.post(url, {**fields, **confirmation_of(again)}).status_code == 302
    assert len(entries(alice)) == len(before) + 2


def test_a_form_that_is_changed_and_sent_again_says_so_and_can_be_gone_on_with(browser, alice):
    url, token = url_of(alice, "grant"), str(uuid7())
    assert browser.post(url, {**GRANT, "token": token, "confirmed": "1"}).status_code == 302
    changed = browser.post(url, {**GRANT, "amount": "3", "token": token, "confirmed": "1"})
    assert changed.status_code == 422
    assert "has been sent before, with other values" in changed.content.decode()
    assert entries(alice)[1:] == [("grant", "2.50000000")]
    fresh = confirmation_of(changed)["token"]
    assert fresh != token
    preview = browser.post(url, {**GRANT, "amount": "3", "token": fresh})
    assert browser.post(url, {**GRANT, **confirmation_of(preview)}).status_code == 302
    assert entries(alice)[1:] == [("grant", "2.50000000"), ("grant", "3.00000000")]


def test_a_refund_above_what_is_left_is_refused_in_the_form(browser, alice):
    charge(alice.id, ONE, ONE)
    debit = CreditTransaction.objects.filter(user_id=alice.id, kind="debit").earliest("seq")
    url = f"/admin/billing/credittransaction/{debit.id}/refund/"
    page = browser.get(url).content.decode()
    assert "the whole turn" in page
    assert "2.00000000" in page
    before = entries(alice)
    too_much = browser.post(url, {"what": "entry", "amount": "1.5", "reason": "x", "token": str(uuid7())})
    assert "At most 1.00000000 credits" in too_much.content.decode()
    assert entries(alice) == before
    whole = {"what": "turn", "reason": "x", "token": str(uuid7()), "confirmed": "1"}
    assert browser.post(url, whole).status_code == 302
    assert entries(alice) == [*before, ("refund", "2.00000000")]


def test_what_is_no_debit_has_no_refund_and_what_is_not_there_no_page(browser, alice):
    grant = CreditTransaction.objects.get(user_id=alice.id)
    for path in (
        f"credittransaction/{grant.id}/refund/", f"credittransaction/{uuid7()}/refund/",
        f"creditgrant/{uuid7()}/void/", f"creditwallet/{uuid7()}/grant/", f"creditwallet/{uuid7()}/adjust/",
    ):  # fmt: skip
        assert browser.get(f"/admin/billing/{path}").status_code == 404
    assert "/refund/" not in browser.get(f"/admin/billing/credittransaction/{grant.id}/change/").content.decode()


def test_the_wallet_page_shows_all_of_it_in_a_bounded_number_of_statements(
    browser, alice, django_assert_max_num_queries
):
    charge(alice.id, *[ONE] * 3)
    make_hold(alice.id, "2")
    url = f"/admin/billing/creditwallet/{wallet_of(alice).id}/change/"
    with django_assert_max_num_queries(16):
        page = browser.get(url).content.decode()
    for text in (alice.email, "7.00000000", "2.00000000", "5.00000000", "/grant/", "/adjust/"):
        assert text in page


# Enforcement, the shadow gate and limits


def test_the_deployments_enforcement_is_set_and_dropped(browser, boss, settings):
    settings.CREDIT_ENFORCEMENT = "off"
    browser.post("/admin/billing/enforcementoverride/add/", {"enforcement": "hard"})
    assert enforcement.describe()["updated_by"] == str(boss.id)
    assert enforcement.describe()["enforcement"] == "hard"
    page = browser.get("/admin/billing/enforcementoverride/").content.decode()
    assert "From the override; the environment says off." in page
    assert browser.get("/admin/billing/enforcementoverride/add/").status_code == 403
    row = EnforcementOverride.objects.get()
    browser.post(f"/admin/billing/enforcementoverride/{row.id}/change/", {"enforcement": "warn"})
    assert enforcement.describe()["enforcement"] == "warn"
    browser.post(f"/admin/billing/enforcementoverride/{row.id}/delete/", {"post": "yes"})
    assert enforcement.describe()["enforcement"] == "off"


def test_one_users_enforcement_is_set_by_e_mail(browser, boss, alice):
    url = "/admin/billing/userenforcement/add/"
    nobody = browser.post(url, {"email": "nobody@example.com", "enforcement": "hard"})
    assert "There is no such user." in nobody.content.decode()
    assert not UserEnforcement.objects.exists()
    assert browser.post(url, {"email": alice.email.upper(), "enforcement": "hard"}).status_code == 302
    row = UserEnforcement.objects.get()
    assert (row.user_id, row.enforcement, row.updated_by) == (alice.id, "hard", str(boss.id))
    browser.post(f"/admin/billing/userenforcement/{row.id}/change/", {"enforcement": "off"})
    assert enforcement.current(user_id=alice.id) == "off"
    assert alice.email in browser.get("/admin/billing/userenforcement/").content.decode()


def test_the_shadow_gate_tells_what_hard_would_do(browser, alice):
    make_hold(alice.id, "11", enforcement="warn")
    page = browser.get("/admin/billing/shadowrefusal/").content.decode()
    assert "<strong>1</strong> of 1 pieces of work of 1 user:" in page
    assert alice.email in page


def test_staff_limits_are_made_changed_and_deleted_and_owners_are_only_seen(browser, boss, alice):
    url = "/admin/billing/spendinglimit/add/"
    fields = {"email": alice.email, "subject": "user", "period": "month", "amount": "5", "tz": "Europe/Berlin"}
    for bad in (
        {"email": "nobody@example.com"}, {"amount": "-1"}, {"amount": "NaN"}, {"tz": "Mars"}, {"period": "week"},
        {"subject": "room"}, {"subject": "room", "subject_id": str(uuid7())},
    ):  # fmt: skip
        assert browser.post(url, {**fields, **bad}).status_code == 200
    assert not SpendingLimit.objects.exists()
    assert browser.post(url, fields).status_code == 302
    row = SpendingLimit.objects.get()
    assert (row.user_id, row.subject_id, row.amount, row.is_staff_set) == (alice.id, alice.id, Decimal(5), True)
    assert row.set_by == str(boss.id)
    assert wallet_of(alice).has_limits is True
    assert "There is such a limit" in browser.post(url, fields).content.decode()
    page = f"/admin/billing/spendinglimit/{row.id}"
    assert browser.post(f"{page}/change/", {"amount": "7"}).status_code == 302
    assert SpendingLimit.objects.get().amount == Decimal(7)
    SpendingLimit.objects.update(is_staff_set=False)
    assert browser.post(f"{page}/change/", {"amount": "9"}).status_code == 403
    assert browser.post(f"{page}/delete/", {"post": "yes"}).status_code == 403
    SpendingLimit.objects.update(is_staff_set=True)
    assert browser.post(f"{page}/delete/", {"post": "yes"}).status_code == 302
    assert not SpendingLimit.objects.exists()
    assert wallet_of(alice).has_limits is False


def test_a_limit_too_many_is_said_on_the_form_and_not_made(browser, alice, monkeypatch):
    monkeypatch.setattr(services, "LIMITS_MAX", 0)
    form = {
        "email": User.objects.get(pk=alice.id).email,
        "subject": "user",
        "period": "day",
        "amount": "5",
        "tz": "UTC",
    }
    page = browser.post("/admin/billing/spendinglimit/add/", form, follow=True)
    assert (page.status_code, page.redirect_chain) == (200, [("/admin/billing/spendinglimit/add/", 302)])
    assert "At most 0 limits." in page.content.decode()
    assert SpendingLimit.objects.count() == 0

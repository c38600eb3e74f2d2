"""A bulk grant whose web process is killed in the middle: sent again, each gets it once."""

from __future__ import annotations

import re
from decimal import Decimal

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password

from billing.models import CreditGrant, CreditWallet
from sessions_app.tests.e2e.forms import form_fields
from sessions_app.tests.makers import PASSWORD, make_person

pytestmark = pytest.mark.server
# DEBUG, so that static files need not be collected.
ENVIRONMENT = {"DEBUG": "1"}
BULK = "/admin/billing/creditwallet/bulk/"
PEOPLE = 400
_SO_FAR = re.compile(rf"</progress> [1-9]\d* of {PEOPLE}")


def log_in(browser, staff):
    # The web process knows the real hashers only.
    password = make_password(PASSWORD, hasher=PBKDF2PasswordHasher())
    get_user_model().objects.filter(pk=staff.id).update(password=password)
    fields = form_fields(browser.get("/admin/login/").text)
    entered = browser.post("/admin/login/", data={**fields, "username": staff.email, "password": PASSWORD})
    assert entered.status_code == 302


def test_a_bulk_grant_that_is_killed_in_the_middle_is_sent_again_and_each_gets_it_once(web):
    boss = make_person("boss", is_staff=True, is_superuser=True)
    people = [make_person(f"user{number}", credits="1") for number in range(PEOPLE)]
    with httpx.Client(base_url=web.url, timeout=60, headers={"Referer": web.url}) as browser:
        log_in(browser, boss)
        form = form_fields(browser.get(BULK).text) | {"amount": "2", "campaign": "spring", "reason": "thank you"}
        plan = browser.post(BULK, data=form, files={"file": ("list.csv", "\n".join(one.email for one in people))})
        assert f"Yes, grant to {PEOPLE} users" in plan.text
        confirming = form_fields(plan.text)
        # As a browser sends it: the list would not fit into a form that is encoded otherwise.
        parts = {name: (None, value) for name, value in confirming.items()}
        seen = ""
        with pytest.raises(httpx.TransportError), browser.stream("POST", BULK, files=parts) as answer:
            for piece in answer.iter_text():
                seen += piece
                if _SO_FAR.search(seen):
                    web.kill()
        granted = CreditGrant.objects.filter(campaign="spring").count()
        assert 0 < granted < PEOPLE
        assert "What was done" not in seen
        web.start().wait()
        # The button of what there is of the page.
        again = {name: (None, value) for name, value in form_fields(seen).items()}
        done = browser.post(BULK, files=again).text
    assert "What was done" in done
    assert done.count("<td>granted</td>") == PEOPLE - granted
    assert done.count("has had it from this campaign</td>") == granted
    wallets = CreditWallet.objects.filter(user_id__in=[one.id for one in people])
    assert set(wallets.values_list("balance", flat=True)) == {Decimal(3)}
    assert CreditGrant.objects.filter(campaign="spring").count() == PEOPLE

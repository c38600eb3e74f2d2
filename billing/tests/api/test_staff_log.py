"""Whatever staff change is in Django's LogEntry, word for word, whether by the admin or over HTTP, once."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.test import Client
from rest_framework.test import APIClient

from billing.models import Alert, AlertDelivery, CreditGrant, CreditTransaction, CreditWallet, WebhookEndpoint
from billing.tests.makers import charge
from config.core.ids import uuid7
from pricing.models import PricingVersion
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_person
from users import api_keys
from users.models import User

pytestmark = pytest.mark.django_db
API = "/api/v1/admin"
ONE = TokenPools(output=10_000)


@pytest.fixture
def boss():
    return make_person("boss", is_staff=True, is_superuser=True)


@pytest.fixture
def alice():
    return make_person("alice")


@pytest.fixture
def rest(boss):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {boss.token}")
    return client


@pytest.fixture
def browser(boss):
    client = Client()
    client.force_login(User.objects.get(pk=boss.id))
    return client


@pytest.fixture
def said(boss):
    """What was written since the last look: (what about, how, in which words). All of it by the boss."""
    seen = set()

    def look():
        rows = [row for row in LogEntry.objects.order_by("id") if row.pk not in seen]
        seen.update(row.pk for row in rows)
        assert {row.user_id for row in rows} <= {boss.id}
        return [(row.content_type.model, row.action_flag, row.get_change_message()) for row in rows]

    return look


def wallet_of(person):
    return CreditWallet.objects.get(user_id=person.id)


def test_corrections_over_http(rest, alice, said):
    charge(alice.id, ONE)
    debit = CreditTransaction.objects.get(user_id=alice.id, kind="debit")
    lot = CreditGrant.objects.get(user_id=alice.id)
    wallet = f"{API}/wallets/{alice.id}"
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        rest.post(f"{wallet}/grant", {"amount": "2", "reason": "welcome"}, headers=headers)
    assert said() == [("creditwallet", CHANGE, "Grant credits: Grant of 2.00000000; welcome")]
    rest.post(f"{wallet}/adjust", {"amount": "-1", "reason": "wrong"})
    assert said() == [("creditwallet", CHANGE, "Adjust balance: Adjustment of -1.00000000; wrong")]
    rest.post(f"{wallet}/refund", {"transaction_id": str(debit.id), "reason": "slow"})
    assert said() == [("creditwallet", CHANGE, "Refund: Refund of 1.00000000; slow")]
    for _ in range(2):
        rest.post(f"{API}/grants/{lot.id}/void", {"reason": "chargeback"})
    assert said() == [("creditwallet", CHANGE, "Void grant: Adjustment of -9.00000000; chargeback")]
    assert set(LogEntry.objects.values_list("object_id", flat=True)) == {str(wallet_of(alice).pk)}


def test_a_correction_that_is_refused_says_nothing(rest, alice, said):
    refused = rest.post(f"{API}/wallets/{alice.id}/grant", {"amount": "9999999999", "reason": "x"})
    assert refused.status_code == 422
    assert said() == []


def test_corrections_in_the_admin_and_their_history(browser, alice, said):
    url = f"/admin/billing/creditwallet/{wallet_of(alice).id}"
    form = {"amount": "2.5", "kind": "promo", "priority": "50", "reason": "welcome", "token": str(uuid7())}
    browser.post(f"{url}/grant/", form)
    assert said() == []
    for _ in range(2):
        browser.post(f"{url}/grant/", {**form, "confirmed": "1"})
    assert said() == [("creditwallet", CHANGE, "Grant credits: Grant of 2.50000000; welcome")]
    assert f"{url}/history/" in browser.get(f"{url}/change/").content.decode()
    assert "Grant credits: Grant of 2.50000000; welcome" in browser.get(f"{url}/history/").content.decode()


def test_enforcement_over_http(rest, alice, said, settings):
    settings.CREDIT_ENFORCEMENT = "warn"
    url = f"{API}/settings/enforcement"
    rest.patch(url, {"enforcement": "hard"})
    rest.delete(url)
    rest.delete(url)
    assert said() == [
        ("enforcementoverride", CHANGE, "Enforcement of the deployment: warn → hard."),
        ("enforcementoverride", DELETION, "Enforcement of the deployment: hard → warn, the environment's."),
    ]
    url = f"{API}/users/{alice.id}/enforcement"
    rest.patch(url, {"enforcement": "off"})
    rest.delete(url)
    rest.delete(url)
    assert said() == [
        ("userenforcement", CHANGE, f"Enforcement of user {alice.id}: warn → off."),
        ("userenforcement", DELETION, f"Enforcement of user {alice.id}: off → warn, the deployment's."),
    ]


def test_enforcement_in_the_admin(browser, alice, said, settings):
    settings.CREDIT_ENFORCEMENT = "off"
    url = "/admin/billing/enforcementoverride"
    browser.post(f"{url}/add/", {"enforcement": "warn"})
    from billing.models import EnforcementOverride, UserEnforcement

    row = EnforcementOverride.objects.get()
    browser.post(f"{url}/{row.pk}/change/", {"enforcement": "hard"})
    browser.post(f"{url}/{row.pk}/delete/", {"post": "yes"})
    assert not EnforcementOverride.objects.exists()
    assert said() == [
        ("enforcementoverride", CHANGE, "Enforcement of the deployment: off → warn."),
        ("enforcementoverride", CHANGE, "Enforcement of the deployment: warn → hard."),
        ("enforcementoverride", DELETION, "Enforcement of the deployment: hard → off, the environment's."),
    ]
    url = "/admin/billing/userenforcement"
    browser.post(f"{url}/add/", {"email": alice.email, "enforcement": "hard"})
    browser.post(f"{url}/{UserEnforcement.objects.get().pk}/delete/", {"post": "yes"})
    assert said() == [
        ("userenforcement", CHANGE, f"Enforcement of user {alice.id}: off → hard."),
        ("userenforcement", DELETION, f"Enforcement of user {alice.id}: hard → off, the deployment's."),
    ]


def test_limits_of_staff_and_not_those_of_their_owners(rest, browser, alice, said):
    limits = f"{API}/users/{alice.id}/spending-limits"
    made = rest.post(limits, {"amount": "5", "period": "day"}).json()
    rest.patch(f"{limits}/{made['id']}", {"amount": "6.5"})
    rest.delete(f"{limits}/{made['id']}")
    named = f"Limit a day (UTC) of User {alice.id}"
    assert said() == [
        ("spendinglimit", ADDITION, f"{named}: set to 5.00000000."),
        ("spendinglimit", CHANGE, f"{named}: 5.00000000 → 6.50000000."),
        ("spendinglimit", DELETION, f"{named}: 6.50000000 taken away."),
    ]
    url = "/admin/billing/spendinglimit"
    form = {"email": alice.email, "subject": "user", "period": "month", "amount": "7", "tz": "Europe/Berlin"}
    browser.post(f"{url}/add/", form)
    named = f"Limit a month (Europe/Berlin) of User {alice.id}"
    assert said() == [("spendinglimit", ADDITION, f"{named}: set to 7.00000000.")]
    owner = APIClient()
    owner.credentials(HTTP_AUTHORIZATION=f"Bearer {alice.token}")
    key = api_keys.issue(User.objects.get(pk=alice.id), name="machine").row
    body = {"subject": "api_key", "subject_id": str(key.id), "period": "day", "amount": "1"}
    assert owner.post("/api/v1/users/me/spending-limits", body).status_code == 201
    assert said() == []


def test_webhooks_for_everybody_and_messages_sent_again(browser, alice, said, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    url = "/admin/billing/webhookendpoint"
    browser.post(f"{url}/add/", {"url": "http://127.0.0.1:9/hook"})
    hook = WebhookEndpoint.objects.get()
    browser.post(f"{url}/{hook.pk}/delete/", {"post": "yes"})
    assert said() == [
        ("webhookendpoint", ADDITION, "Webhook for everybody's alerts to http://127.0.0.1:9/hook: made."),
        ("webhookendpoint", DELETION, f"webhook {hook.pk}: deleted."),
    ]
    charge(alice.id, TokenPools(output=60_000))
    alert = Alert.objects.get(user_id=alice.id)
    delivery = AlertDelivery.objects.create(alert=alert, user_id=alice.id, status="failed", attempts=8)
    waiting = AlertDelivery.objects.create(alert=alert, endpoint=_endpoint(), user_id=alice.id)
    chosen = {"action": "send_again", "_selected_action": [str(delivery.pk), str(waiting.pk)]}
    browser.post("/admin/billing/alertdelivery/", chosen)
    assert said() == [("alertdelivery", CHANGE, f"Message {delivery.pk}, failed after 8: to be sent again.")]


def _endpoint():
    from billing.alerts.endpoints import store

    return store(WebhookEndpoint(url="http://127.0.0.1:9/other")).row


def test_keys_that_staff_revoke(browser, alice, said):
    user = User.objects.get(pk=alice.id)
    one, two = api_keys.issue(user, name="one").row, api_keys.issue(user, name="two").row
    api_keys.revoke(user, two.id)
    chosen = {"action": "revoke", "_selected_action": [str(one.pk), str(two.pk)]}
    page = browser.post("/admin/users/apikey/", chosen, follow=True)
    assert "1 keys are revoked." in page.content.decode()
    assert said() == [("apikey", CHANGE, f"API key {one.prefix}… of user {alice.id}: revoked.")]


def test_prices_over_http(rest, said):
    url = f"{API}/pricing/gpt-4o"
    rest.patch(url, {"multiplier": "2.5"})
    rest.patch(url, {"multiplier": "2.5"})
    rest.put(f"{API}/pricing/versions/2026-02-20/models/gpt-4o", {"multiplier": "3"})
    rest.put(f"{API}/pricing/versions/2026-02-20/models/gpt-4o", {"context_tokens": 1000})
    assert said() == [
        ("pricingversion", CHANGE, "Multiplier of gpt-4o: 2.0000 → 2.5000."),
        ("pricingversion", CHANGE, "Multiplier of gpt-4o: 2.5000 → 3.0000."),
        ("pricingversion", CHANGE, "Context tokens of gpt-4o: 128000 → 1000."),
    ]


def test_what_a_command_does_has_its_name_on_the_row_and_no_entry(alice, said):
    from billing import enforcement

    enforcement.set_for_user(user_id=alice.id, enforcement="hard", updated_by="a script")
    enforcement.set_for_user(user_id=alice.id, enforcement="off", updated_by=str(uuid7()))
    assert said() == []


def test_multipliers_in_the_admin(browser, said):
    version = PricingVersion.objects.get(status="active")
    row = version.models.get(model_alias="gpt-4o")
    page = browser.get(f"/admin/pricing/pricingversion/{version.pk}/change/")
    data = _filled_in(page)
    number = next(name for name, value in data.items() if value == str(row.pk)).split("-")[1]
    data[f"models-{number}-multiplier"] = "2.5"
    assert browser.post(f"/admin/pricing/pricingversion/{version.pk}/change/", data).status_code == 302
    row.refresh_from_db()
    assert str(row.multiplier) == "2.5000"
    assert said() == [("pricingversion", CHANGE, "Multiplier of gpt-4o: 2.0000 → 2.5000.")]


def _filled_in(page):
    """What a browser would send back of a form as it came."""
    data = {}
    context = page.context
    for form in (context["adminform"].form, *[f for s in context["inline_admin_formsets"] for f in s.formset.forms]):
        for field in form:
            value = field.value()
            data[field.html_name] = "" if value is None else str(value)
    for formset in context["inline_admin_formsets"]:
        for field in formset.formset.management_form:
            data[field.html_name] = str(field.value())
    return data

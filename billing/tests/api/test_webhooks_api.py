"""Webhooks and alert settings over HTTP: one's own, the secret once, nothing private to be called."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from billing.alerts import delivering
from billing.alerts.fan_out import fan_out
from billing.models import AlertDelivery, WebhookEndpoint
from billing.tests.makers import charge
from billing.tests.receiver import Receiver
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_person
from users import api_keys
from users.models import User

pytestmark = pytest.mark.django_db
HOOKS = "/api/v1/users/me/webhooks"
URL = "https://example.com/hook"


def client_of(person, token=None):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token or person.token}")
    return client


@pytest.fixture
def alice():
    return make_person("alice")


def test_a_webhook_is_made_with_a_secret_that_is_shown_once(alice, settings, caplog):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    client = client_of(alice)
    with Receiver() as receiver:
        made = client.post(HOOKS, {"url": receiver.url, "kinds": ["low_balance"]}, format="json")
        assert made.status_code == 201
        secret = made.json()["secret"]
        shown = client.get(f"{HOOKS}/{made.json()['id']}")
        assert "secret" not in shown.json()
        assert secret.startswith(shown.json()["secret_prefix"])
        assert client.get(HOOKS).json()["results"] == [shown.json()]
        charge(alice.id, TokenPools(output=60_000))
        fan_out()
        delivering.work("webhook", float("inf"))
        tested = client.post(f"{HOOKS}/{made.json()['id']}/test")
        assert tested.status_code in {200, 201, 202}
        delivering.work("webhook", float("inf"))
        assert [got.verified(secret)["type"] for got in receiver.received] == ["low_balance", "ping"]
    listed = client.get(f"{HOOKS}/{made.json()['id']}/deliveries").json()["results"]
    assert [(row["kind"], row["status"], row["attempts"], row["http_status"]) for row in listed] == [
        ("ping", "delivered", 1, 200), ("low_balance", "delivered", 1, 200),
    ]  # fmt: skip
    assert [row["id"] for row in listed] == [got.id for got in reversed(receiver.received)]
    assert secret not in caplog.text
    assert client.delete(f"{HOOKS}/{made.json()['id']}").status_code == 204
    assert not WebhookEndpoint.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook", "https://127.0.0.1/hook", "https://localhost/x", "https://[::1]/x", "ftp://x.org/",
        "https://10.0.0.1/", "https://169.254.169.254/latest/meta-data", "https://user:secret@example.com/", "x", "",
        "https://0x7f000001/", "https://2130706433/", "https://example.com:0/", "https://[::ffff:127.0.0.1]/",
        "javascript:alert(1)", f"https://example.com/{'x' * 2048}", None, 5,
    ],
)  # fmt: skip
def test_a_url_that_leads_nowhere_public_is_refused(alice, url):
    answer = client_of(alice).post(HOOKS, {"url": url}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [error["field"] for error in answer.json()["errors"]] == ["url"]
    assert not WebhookEndpoint.objects.exists()


@pytest.mark.parametrize("body", [{"kinds": ["x"]}, {"kinds": []}, {"kinds": "low_balance"}, {"surprise": 1}])
def test_a_bad_body_is_refused(alice, body):
    answer = client_of(alice).post(HOOKS, {"url": "https://example.com/hook", **body}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert not WebhookEndpoint.objects.exists()


def test_bobs_webhook_is_as_if_it_were_not_there(alice, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    bob = make_person("bob")
    made = client_of(bob).post(HOOKS, {"url": "http://127.0.0.1:9/hook"}).json()
    client = client_of(alice)
    for answer in (
        client.get(f"{HOOKS}/{made['id']}"),
        client.delete(f"{HOOKS}/{made['id']}"),
        client.post(f"{HOOKS}/{made['id']}/test"),
        client.get(f"{HOOKS}/{made['id']}/deliveries"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert client.get(HOOKS).json()["results"] == []
    assert (WebhookEndpoint.objects.count(), AlertDelivery.objects.count()) == (1, 0)


def test_mails_are_switched_off_and_on(alice):
    client = client_of(alice)
    assert client.get("/api/v1/users/me/alerts").json() == {"email": True}
    assert client.patch("/api/v1/users/me/alerts", {"email": False}).json() == {"email": False}
    assert client_of(make_person("bob")).get("/api/v1/users/me/alerts").json() == {"email": True}
    refused = client.patch("/api/v1/users/me/alerts", {"email": "perhaps"}, format="json")
    assert (refused.status_code, client.get("/api/v1/users/me/alerts").json()) == (422, {"email": False})


@pytest.mark.parametrize("path", ["alerts", "webhooks"])
def test_nobody_without_a_token_sees_any_of_it(path):
    assert APIClient().get(f"/api/v1/users/me/{path}").status_code == 401


def test_a_key_may_look_and_change_nothing(alice):
    """A webhook would outlive the key's revocation; deleting one would silence its owner's alarm."""
    made = client_of(alice).post(HOOKS, {"url": URL}, format="json").json()
    key = client_of(alice, api_keys.issue(User.objects.get(pk=alice.id), name="ci").key)
    assert [row["id"] for row in key.get(HOOKS).json()["results"]] == [made["id"]]
    for answer in (
        key.post(HOOKS, {"url": URL}, format="json"),
        key.delete(f"{HOOKS}/{made['id']}"),
        key.post(f"{HOOKS}/{made['id']}/test"),
        key.patch("/api/v1/users/me/alerts", {"email": False}, format="json"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert (WebhookEndpoint.objects.count(), AlertDelivery.objects.count()) == (1, 0)
    assert client_of(alice).get("/api/v1/users/me/alerts").json() == {"email": True}

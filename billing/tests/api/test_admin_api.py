"""Grants, adjustments and enforcement by staff: who may, exactly once, and bad amounts refused with nothing moved."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from rest_framework.test import APIClient

from billing.models import CreditGrant, CreditTransaction, CreditWallet
from config.core.ids import uuid7
from config.core.models import IdempotencyKey
from sessions_app.tests.makers import make_person
from users.models import User

pytestmark = pytest.mark.django_db
API = "/api/v1/admin"
BAD_AMOUNTS = [
    "NaN", "Infinity", "-Infinity", "1e400", "1e2", "0.000000001", "12345678901", "", " 1", "1,5", "0x1", 5, 1.5, None,
    True, [], {}, "٣",
]  # fmt: skip


def client_of(person):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.token}")
    return client


@pytest.fixture
def staff():
    return make_person("staff", is_staff=True, is_superuser=True)


@pytest.fixture
def alice():
    return make_person("alice")


def balance(person):
    return CreditWallet.objects.get(user_id=person.id).balance


def test_staff_grant_credits_and_get_the_entry(staff, alice):
    answer = client_of(staff).post(f"{API}/wallets/{alice.id}/grant", {"amount": "2.5", "reason": "welcome"})
    assert answer.status_code == 201
    entry = answer.json()
    assert (entry["kind"], entry["amount"], entry["balance_after"]) == ("grant", "2.50000000", "12.50000000")
    assert (entry["reason"], entry["initiated_by"]) == ("welcome", str(staff.id))
    assert balance(alice) == Decimal("12.5")


def test_a_purchase_is_a_top_up(staff, alice):
    body = {"amount": "1", "reason": "invoice 7", "kind": "purchase", "priority": 80}
    entry = client_of(staff).post(f"{API}/wallets/{alice.id}/grant", body).json()
    assert entry["kind"] == "top_up"
    assert CreditGrant.objects.get(id=entry["grant_id"]).priority == 80


def test_a_grant_with_a_key_is_made_once(staff, alice):
    client, url = client_of(staff), f"{API}/wallets/{alice.id}/grant"
    body = {"amount": "2", "reason": "x"}
    first = client.post(url, body, headers={"Idempotency-Key": "k"})
    again = client.post(url, body, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert ("Idempotency-Replayed" in first, again["Idempotency-Replayed"]) == (False, "true")
    assert balance(alice) == Decimal(12)


def test_a_key_used_for_another_request_is_refused(staff, alice):
    client, url = client_of(staff), f"{API}/wallets/{alice.id}/grant"
    client.post(url, {"amount": "2", "reason": "x"}, headers={"Idempotency-Key": "k"})
    answer = client.post(url, {"amount": "3", "reason": "x"}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert balance(alice) == Decimal(12)


@pytest.mark.parametrize("key", ["", "ä", "a" * 256, "a\tb"])
def test_a_malformed_key_is_refused(staff, alice, key):
    answer = client_of(staff).post(
        f"{API}/wallets/{alice.id}/grant", {"amount": "2", "reason": "x"}, headers={"Idempotency-Key": key}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_malformed")
    assert balance(alice) == Decimal(10)


def test_a_refused_request_is_not_remembered(staff, alice):
    client, url = client_of(staff), f"{API}/wallets/{alice.id}/grant"
    assert client.post(url, {"amount": "-2", "reason": "x"}, headers={"Idempotency-Key": "k"}).status_code == 422
    assert IdempotencyKey.objects.count() == 0
    assert client.post(url, {"amount": "2", "reason": "x"}, headers={"Idempotency-Key": "k"}).status_code == 201


@pytest.mark.parametrize("amount", [*BAD_AMOUNTS, "0", "-1", "0.00000000"])
def test_a_bad_grant_is_refused_and_nothing_moves(staff, alice, amount):
    answer = client_of(staff).post(f"{API}/wallets/{alice.id}/grant", {"amount": amount, "reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert answer.json()["errors"][0]["field"] == "amount"
    assert CreditTransaction.objects.filter(user_id=alice.id).count() == 1


@pytest.mark.parametrize("amount", [*BAD_AMOUNTS, "0"])
def test_a_bad_adjustment_is_refused_and_nothing_moves(staff, alice, amount):
    answer = client_of(staff).post(f"{API}/wallets/{alice.id}/adjust", {"amount": amount, "reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert CreditTransaction.objects.filter(user_id=alice.id).count() == 1


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "x"},
        {"amount": "1"},
        {"amount": "1", "reason": ""},
        {"amount": "1", "reason": "x" * 501},
        {"amount": "1", "reason": "nul\x00"},
        {"amount": "1", "reason": "x", "kind": "adjustment"},
        {"amount": "1", "reason": "x", "priority": 101},
        {"amount": "1", "reason": "x", "priority": -1},
        {"amount": "1", "reason": "x", "expires_at": "2001-01-01T00:00:00Z"},
        {"amount": "1", "reason": "x", "expire_at": "2999-01-01T00:00:00Z"},
        [],
        "text",
    ],
)
def test_a_bad_grant_body_is_refused(staff, alice, body):
    answer = client_of(staff).post(f"{API}/wallets/{alice.id}/grant", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert balance(alice) == Decimal(10)


def test_a_grant_beyond_the_ledgers_range_is_refused(staff, alice):
    answer = client_of(staff).post(f"{API}/wallets/{alice.id}/grant", {"amount": "9999999999", "reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert balance(alice) == Decimal(10)


def test_adjustments_are_signed(staff, alice):
    client, url = client_of(staff), f"{API}/wallets/{alice.id}/adjust"
    assert client.post(url, {"amount": "-12", "reason": "wrong grant"}).json()["balance_after"] == "-2.00000000"
    assert client.post(url, {"amount": "3", "reason": "sorry"}).json()["balance_after"] == "1.00000000"


def test_staff_look_at_a_wallet_with_its_holds(staff, alice):
    from billing.tests.makers import make_hold

    make_hold(alice.id, "4")
    shown = client_of(staff).get(f"{API}/wallets/{alice.id}").json()
    assert (shown["balance"], shown["held"], shown["available"]) == ("10.00000000", "4.00000000", "6.00000000")
    assert [hold["amount"] for hold in shown["holds"]] == ["4.00000000"]
    assert shown["user_id"] == str(alice.id)


@pytest.mark.parametrize(("method", "path"), [("get", ""), ("post", "/grant"), ("post", "/adjust")])
def test_a_user_who_does_not_exist_is_not_found(staff, method, path):
    body = {"amount": "1", "reason": "x"} if method == "post" else None
    answer = getattr(client_of(staff), method)(f"{API}/wallets/{uuid7()}{path}", body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


ROUTES = [
    ("get", "wallets/{}"),
    ("post", "wallets/{}/grant"),
    ("post", "wallets/{}/adjust"),
    ("get", "settings/enforcement"),
    ("patch", "settings/enforcement"),
    ("delete", "settings/enforcement"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_everybody_else_is_refused(alice, method, path):
    url = f"{API}/{path.format(alice.id)}"
    body = {"amount": "1", "reason": "x", "enforcement": "off"}
    refused = getattr(client_of(alice), method)(url, body)
    assert (refused.status_code, refused.json()["code"]) == (403, "admin_required")
    anonymous = getattr(APIClient(), method)(url, body)
    assert (anonymous.status_code, anonymous.json()["code"]) == (401, "not_authenticated")
    assert balance(alice) == Decimal(10)


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("get", "wallets/{}", "view_creditwallet"),
        ("post", "wallets/{}/grant", "add_creditgrant"),
        ("post", "wallets/{}/adjust", "add_credittransaction"),
        ("get", "settings/enforcement", "view_enforcementoverride"),
        ("patch", "settings/enforcement", "change_enforcementoverride"),
        ("delete", "settings/enforcement", "change_enforcementoverride"),
    ],
)
def test_staff_need_the_permission(alice, method, path, permission):
    helper = make_person("helper", is_staff=True)
    body = {"enforcement": "off"} if "enforcement" in path else {"amount": "1", "reason": "x"}
    url = f"{API}/{path.format(alice.id)}"
    refused = getattr(client_of(helper), method)(url, body)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    User.objects.get(pk=helper.id).user_permissions.add(
        Permission.objects.get(content_type__app_label="billing", codename=permission)
    )
    assert getattr(client_of(helper), method)(url, body).status_code in {200, 201}


def test_enforcement_is_overridden_and_falls_back(staff, alice, settings):
    settings.CREDIT_ENFORCEMENT = "warn"
    client, url = client_of(staff), f"{API}/settings/enforcement"
    assert client.get(url).json()["enforcement"] == "warn"
    assert client.patch(url, {"enforcement": "hard"}).json() == {
        "enforcement": "hard",
        "source": "override",
        "environment": "warn",
        "updated_by": str(staff.id),
    }
    assert client_of(alice).get("/api/v1/users/me/wallet").json()["enforcement"] == "hard"
    assert client.delete(url).json()["source"] == "environment"
    assert client_of(alice).get("/api/v1/users/me/wallet").json()["enforcement"] == "warn"


@pytest.mark.parametrize("body", [{}, {"enforcement": "soft"}, {"enforcement": None}, {"enforcement": 1}])
def test_an_unknown_enforcement_is_refused(staff, body):
    answer = client_of(staff).patch(f"{API}/settings/enforcement", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")

"""Refunds and voids by staff over HTTP, scoped grants, and what a wallet shows of them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone
from rest_framework.test import APIClient

from billing.models import CreditGrant, CreditTransaction, CreditWallet
from billing.tests.makers import charge
from config.core.ids import uuid7
from config.core.models import IdempotencyKey
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db
API = "/api/v1/admin"
ONE = TokenPools(output=10_000)


def client_of(person):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.token}")
    return client


@pytest.fixture
def staff():
    return client_of(make_person("staff", is_staff=True, is_superuser=True))


@pytest.fixture
def alice():
    return make_person("alice")


def balance(person):
    return CreditWallet.objects.get(user_id=person.id).balance


def debit_of(person):
    return CreditTransaction.objects.get(user_id=person.id, kind="debit")


def entries(person):
    return CreditTransaction.objects.filter(user_id=person.id).count()


@pytest.mark.parametrize("named_by", ["turn_id", "transaction_id"])
def test_staff_refund_a_turn_or_a_debit(staff, alice, named_by):
    charge(alice.id, ONE)
    debit = debit_of(alice)
    target = debit.reference_id if named_by == "turn_id" else debit.id
    url = f"{API}/wallets/{alice.id}/refund"
    answer = staff.post(url, {named_by: str(target), "amount": "0.25", "reason": "slow"})
    assert answer.status_code == 201
    entry = answer.json()
    assert (entry["kind"], entry["amount"], entry["balance_after"]) == ("refund", "0.25000000", "9.25000000")
    assert (entry["reference_type"], entry["reference_id"]) == (
        "turn" if named_by == "turn_id" else "entry",
        str(target),
    )
    rest = staff.post(url, {named_by: str(target), "reason": "all of it"})
    assert (rest.status_code, rest.json()["amount"]) == (201, "0.75000000")
    nothing = staff.post(url, {named_by: str(target), "reason": "more"})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "refund_exceeds_debit")
    assert nothing.json()["refundable"] == "0.00000000"
    assert balance(alice) == Decimal(10)


def test_a_refund_with_a_key_is_made_once(staff, alice):
    charge(alice.id, ONE)
    body = {"transaction_id": str(debit_of(alice).id), "amount": "0.5", "reason": "slow"}
    url = f"{API}/wallets/{alice.id}/refund"
    first = staff.post(url, body, headers={"Idempotency-Key": "r1"})
    again = staff.post(url, body, headers={"Idempotency-Key": "r1"})
    assert first.json() == again.json()
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    other = staff.post(url, {**body, "amount": "0.4"}, headers={"Idempotency-Key": "r1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert balance(alice) == Decimal("9.5")


def test_a_grant_is_replayed_after_its_expiry(staff, alice):
    body = {
        "amount": "5", "reason": "try it", "aliases": ["gpt-4o"],
        "expires_at": (timezone.now() + timedelta(minutes=5)).isoformat(),
    }  # fmt: skip
    url = f"{API}/wallets/{alice.id}/grant"
    with time_machine.travel(timezone.now(), tick=False) as clock:
        first = staff.post(url, body, format="json", headers={"Idempotency-Key": "g1"})
        clock.shift(timedelta(minutes=6))
        again = staff.post(url, body, format="json", headers={"Idempotency-Key": "g1"})
        late = staff.post(url, body, format="json", headers={"Idempotency-Key": "g2"})
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (late.status_code, late.json()["errors"][0]["field"]) == (422, "expires_at")
    assert balance(alice) == Decimal(15)


def test_a_key_that_was_used_otherwise_says_so_before_the_body_is_judged(staff, alice):
    url = f"{API}/wallets/{alice.id}/adjust"
    staff.post(url, {"amount": "1", "reason": "x"}, headers={"Idempotency-Key": "a1"})
    other = staff.post(url, {"amount": "NaN", "reason": "x"}, headers={"Idempotency-Key": "a1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert balance(alice) == Decimal(11)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "validation_error"),
        ({"turn_id": str(uuid7()), "transaction_id": str(uuid7())}, 422, "validation_error"),
        ({"turn_id": "x"}, 422, "validation_error"),
        ({"turn_id": str(uuid7())}, 404, "not_found"),
        ({"transaction_id": str(uuid7())}, 404, "not_found"),
        ({"transaction_id": "grant"}, 422, "validation_error"),
        ({"transaction_id": "bobs"}, 404, "not_found"),
        ({"turn_id": "bobs"}, 404, "not_found"),
        ({"turn_id": "free"}, 409, "refund_exceeds_debit"),
        ({"transaction_id": "debit", "amount": "1.00000001"}, 409, "refund_exceeds_debit"),
        ({"transaction_id": "debit", "amount": "0"}, 422, "validation_error"),
        ({"transaction_id": "debit", "amount": "-1"}, 422, "validation_error"),
        ({"transaction_id": "debit", "amount": 1}, 422, "validation_error"),
        ({"transaction_id": "debit", "amount": "NaN"}, 422, "validation_error"),
        ({"transaction_id": "debit", "reason": ""}, 422, "validation_error"),
        ({"transaction_id": "debit", "whatever": 1}, 422, "validation_error"),
    ],
)
def test_a_bad_refund_is_refused_and_nothing_moves(staff, alice, body, status, code):
    bob = make_person("bob")
    charge(alice.id, ONE)
    charge(bob.id, ONE)
    free = charge_nothing(alice)
    named = {
        "grant": CreditTransaction.objects.get(user_id=alice.id, kind="grant").id,
        "debit": debit_of(alice).id,
        "bobs": debit_of(bob).reference_id if "turn_id" in body else debit_of(bob).id,
        "free": free,
    }
    asked = {"reason": "x", **{name: str(named.get(value, value)) if name.endswith("_id") else value
                               for name, value in body.items()}}  # fmt: skip
    before = entries(alice), entries(bob)
    answer = staff.post(f"{API}/wallets/{alice.id}/refund", asked, format="json", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (entries(alice), entries(bob)) == before
    assert not IdempotencyKey.objects.exists()


def charge_nothing(person):
    from billing.models import LLMCallEvent

    charge(person.id, TokenPools())
    return LLMCallEvent.objects.get(user_id=person.id, credits_charged=0).turn_id


def test_a_grant_is_voided_once(staff, alice):
    grant = CreditGrant.objects.get(user_id=alice.id)
    charge(alice.id, ONE)
    first = staff.post(f"{API}/grants/{grant.id}/void", {"reason": "chargeback"})
    entry = first.json()
    assert (first.status_code, entry["kind"], entry["amount"]) == (201, "adjustment", "-9.00000000")
    assert (entry["reference_type"], entry["grant_id"], entry["reason"]) == ("void", str(grant.id), "chargeback")
    again = staff.post(f"{API}/grants/{grant.id}/void", {"reason": "twice"})
    assert (again.status_code, again.json(), again.headers["Idempotency-Replayed"]) == (201, entry, "true")
    assert (balance(alice), entries(alice)) == (Decimal(0), 3)


def test_a_grant_that_is_spent_cannot_be_voided(staff, alice):
    grant = CreditGrant.objects.get(user_id=alice.id)
    charge(alice.id, *[ONE] * 10)
    answer = staff.post(f"{API}/grants/{grant.id}/void", {"reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_void")
    assert entries(alice) == 11


def test_a_grant_that_does_not_exist_is_not_found(staff):
    answer = staff.post(f"{API}/grants/{uuid7()}/void", {"reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["wallets/{user}/refund", "grants/{grant}/void"])
def test_who_is_no_staff_corrects_nothing(alice, path):
    charge(alice.id, ONE)
    grant = CreditGrant.objects.get(user_id=alice.id)
    body = {"transaction_id": str(debit_of(alice).id), "reason": "x"} if "refund" in path else {"reason": "x"}
    plain = make_person("plain", is_staff=True)
    for person, code in ((alice, "admin_required"), (plain, "permission_denied")):
        answer = client_of(person).post(f"{API}/{path.format(user=alice.id, grant=grant.id)}", body)
        assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert balance(alice) == Decimal(9)


def test_a_scoped_grant_names_aliases_that_have_a_price(staff, alice):
    url = f"{API}/wallets/{alice.id}/grant"
    made = staff.post(
        url, {"amount": "5", "reason": "try it", "kind": "promo", "aliases": ["gpt-4o", "gpt-4o", "deepseek"]},
        format="json",
    )  # fmt: skip
    assert made.status_code == 201
    assert CreditGrant.objects.get(id=made.json()["grant_id"]).aliases == ["gpt-4o", "deepseek"]
    for aliases in (["gpt-5"], [""], "gpt-4o", [1, {}]):
        refused = staff.post(url, {"amount": "5", "reason": "x", "aliases": aliases}, format="json")
        assert refused.status_code == 422
    assert balance(alice) == Decimal(15)


def test_a_wallet_shows_what_remains_of_each_grant_and_what_expires_next(staff, alice):
    soon, later = (timezone.now() + timedelta(days=days) for days in (2, 9))
    url = f"{API}/wallets/{alice.id}/grant"
    staff.post(url, {"amount": "2", "reason": "a", "expires_at": soon.isoformat(), "campaign": "autumn"})
    staff.post(url, {"amount": "3", "reason": "b", "expires_at": later.isoformat(), "aliases": ["gpt-4o"]})
    charge(alice.id, ONE)
    wallet = client_of(alice).get("/api/v1/users/me/wallet").json()
    assert [(g["remaining"], g["campaign"], g["aliases"]) for g in wallet["grants"]] == [
        ("1.00000000", "autumn", []), ("3.00000000", "", ["gpt-4o"]), ("10.00000000", "", []),
    ]  # fmt: skip
    expires = soon.isoformat().replace("+00:00", "Z")
    assert wallet["next_expiry"] == {"expires_at": expires, "amount": "1.00000000"}

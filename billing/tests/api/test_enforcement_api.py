"""Enforcement of one user, and what the shadow gate tells staff."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from billing.models import UserEnforcement
from billing.tests.makers import make_hold
from config.core.ids import uuid7
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db
API = "/api/v1/admin"


def client_of(person):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.token}")
    return client


@pytest.fixture
def staff():
    return make_person("staff", is_staff=True, is_superuser=True)


def test_one_users_enforcement_is_set_and_falls_back(staff, settings):
    settings.CREDIT_ENFORCEMENT = "warn"
    alice, bob = make_person("alice"), make_person("bob")
    url = f"{API}/users/{alice.id}/enforcement"
    assert client_of(staff).get(url).json()["source"] == "environment"
    answer = client_of(staff).patch(url, {"enforcement": "hard"})
    assert answer.json() == {
        "enforcement": "hard", "source": "user", "environment": "warn", "updated_by": str(staff.id),
    }  # fmt: skip
    shown = [client_of(person).get("/api/v1/users/me/wallet").json()["enforcement"] for person in (alice, bob)]
    assert shown == ["hard", "warn"]
    assert client_of(staff).get(f"{API}/wallets/{alice.id}").json()["enforcement"] == "hard"
    assert client_of(staff).delete(url).json()["enforcement"] == "warn"
    assert not UserEnforcement.objects.exists()


@pytest.mark.parametrize("body", [{}, {"enforcement": "soft"}, {"enforcement": None}, {"enforcement": "hard", "x": 1}])
def test_a_bad_body_changes_nothing(staff, body):
    alice = make_person("alice")
    answer = client_of(staff).patch(f"{API}/users/{alice.id}/enforcement", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert not UserEnforcement.objects.exists()


def test_nobody_else_sets_it_and_nobody_is_not_found(staff):
    alice, plain = make_person("alice"), make_person("plain", is_staff=True)
    url = f"{API}/users/{alice.id}/enforcement"
    for person, code in ((alice, "admin_required"), (plain, "permission_denied")):
        for answer in (client_of(person).patch(url, {"enforcement": "off"}), client_of(person).delete(url)):
            assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert client_of(staff).patch(f"{API}/users/{uuid7()}/enforcement", {"enforcement": "off"}).status_code == 404
    assert not UserEnforcement.objects.exists()


def test_staff_see_whom_hard_would_meet(staff):
    alice, bob = make_person("alice", credits="1"), make_person("bob", credits="1")
    make_hold(alice.id, "1", enforcement="warn")
    make_hold(alice.id, "2", enforcement="warn")
    make_hold(alice.id, "3", enforcement="warn")
    make_hold(bob.id, "1.5", enforcement="warn")
    make_hold(bob.id, "9", enforcement="off")
    report = client_of(staff).get(f"{API}/settings/enforcement/shadow").json()
    counts = {name: report[name] for name in ("pieces_of_work", "refused", "users", "would_not_have_begun")}
    assert counts == {"pieces_of_work": 5, "refused": 3, "users": 2, "would_not_have_begun": 3}
    assert [(user["user_id"], user["refused"], user["credits_missing"]) for user in report["top_users"]] == [
        (str(alice.id), 2, "7.00000000"), (str(bob.id), 1, "0.50000000"),
    ]  # fmt: skip
    past = client_of(staff).get(f"{API}/settings/enforcement/shadow", {"from": "2020-01-01", "to": "2020-02-01"}).json()
    assert (past["pieces_of_work"], past["refused"], past["top_users"]) == (0, 0, [])
    refused = client_of(alice).get(f"{API}/settings/enforcement/shadow")
    assert (refused.status_code, refused.json()["code"]) == (403, "admin_required")


def test_staff_see_which_turns_hard_would_have_refused_page_by_page(staff):
    alice, bob = make_person("alice", credits="1"), make_person("bob", credits="1")
    refused = [make_hold(alice.id, amount, enforcement="warn") for amount in ("2", "3", "4")]
    make_hold(bob.id, "1.5", enforcement="warn")
    client, url = client_of(staff), f"{API}/settings/enforcement/shadow/refusals"
    first = client.get(url, {"page_size": 2, "user_id": str(alice.id)}).json()
    second = client.get(first["next"]).json()
    shown = [*first["results"], *second["results"]]
    assert [row["reference_id"] for row in shown] == [str(reference.id) for reference in reversed(refused)]
    assert (len(first["results"]), second["next"]) == (2, None)
    kept = {name: shown[0][name] for name in ("stage", "model_alias", "balance", "held", "available", "required")}
    assert kept == {
        "stage": "opening", "model_alias": "gpt-4o-mini", "balance": "1.00000000", "held": "5.00000000",
        "available": "-4.00000000", "required": "4.00000000",
    }  # fmt: skip
    assert len(client.get(url).json()["results"]) == 4
    assert client.get(url, {"from": "2020-01-01", "to": "2020-02-01"}).json()["results"] == []
    assert client.get(url, {"user_id": "x"}).status_code == 422
    plain = make_person("plain", is_staff=True)
    for person, code in ((alice, "admin_required"), (plain, "permission_denied")):
        answer = client_of(person).get(url)
        assert (answer.status_code, answer.json()["code"]) == (403, code)

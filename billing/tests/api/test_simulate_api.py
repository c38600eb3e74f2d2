"""The simulation over HTTP."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from billing.models import PriceSimulation
from billing.simulating import runs, views
from billing.tests.makers import charge, make_wallet
from pricing.rating import TokenPools
from pricing.tests.makers import SEED, client_of, make_next, make_staff, refused
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db

SIMULATE = "/api/v1/admin/pricing/versions/next/simulate"
SIMULATIONS = "/api/v1/admin/pricing/versions/next/simulations"


@pytest.fixture
def staff():
    user = make_staff("view_pricingversion")
    user.user_permissions.add(Permission.objects.get(codename="view_llmcallevent"))
    return user


def test_what_a_version_would_have_charged(staff):
    alice = make_user("alice@example.com")
    make_wallet("10", user_id=alice.pk)
    charge(alice.pk, TokenPools(output=10_000), alias="gpt-4o")
    charge(alice.pk, TokenPools(output=10_000))
    make_next()
    answer = client_of(staff).get(SIMULATE, {"days": 7})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["version"], body["revision"], body["days"]) == ("next", 9, 7)
    assert body["totals"] == {
        "calls": 2, "credits_charged": "3.00000000", "credits_under_version": "4.00000000",
        "difference": "1.00000000", "percent": "33.33",
    }  # fmt: skip
    assert body["by_alias"][0] == {
        "model_alias": "gpt-4o", "calls": 1, "credits_charged": "2.00000000", "credits_under_version": "3.00000000",
        "difference": "1.00000000", "percent": "50.00",
    }  # fmt: skip
    (user,) = body["top_users"]
    assert (user["user_id"], user["email"], user["difference"]) == (str(alice.pk), "alice@example.com", "1.00000000")
    assert body["without_price"] == []
    assert body["coverage"] == {
        "pieces_of_work": 2, "not_covered_as_billed": 0, "not_covered": 0, "newly_not_covered": 0, "not_judged": 0,
        "without_price": 0,
    }  # fmt: skip
    assert body["from"] < body["to"]


def test_without_any_call_there_is_nothing(staff):
    body = client_of(staff).get(f"/api/v1/admin/pricing/versions/{SEED}/simulate").json()
    assert (body["days"], body["totals"]["calls"], body["totals"]["percent"], body["top_users"]) == (30, 0, None, [])


@pytest.mark.parametrize("days", ["0", "-1", "367", "x", "1.5", "", "1e2", "9" * 40])
def test_other_days_are_refused(staff, days):
    make_next()
    refused(client_of(staff).get(SIMULATE, {"days": days}), 422, "validation_error")


def test_too_long_a_history_is_refused_at_once_and_done_by_a_worker(staff, monkeypatch):
    bob = make_wallet("10")
    charge(bob, TokenPools(output=10_000), TokenPools(output=10_000), alias="gpt-4o")
    make_next()
    monkeypatch.setattr(views, "MOST_CALLS_AT_ONCE", 2)
    assert client_of(staff).get(SIMULATE).status_code == 200
    monkeypatch.setattr(views, "MOST_CALLS_AT_ONCE", 1)
    monkeypatch.setattr(runs, "FEW_CALLS", 1)
    body = refused(client_of(staff).get(SIMULATE), 422, "validation_error")
    assert [(error["field"], error["code"]) for error in body["errors"]] == [("days", "too_many_calls")]
    asked = client_of(staff).post(SIMULATIONS, {"days": 30})
    assert (asked.status_code, asked.json()["status"], asked.json()["result"]) == (202, "waiting", None)
    assert asked["Location"] == f"{SIMULATIONS}/{asked.json()['id']}"
    assert client_of(staff).post(SIMULATIONS, {}).json()["id"] == asked.json()["id"]
    runs.run_waiting()
    found = client_of(staff).get(asked["Location"]).json()
    assert (found["status"], found["calls"], found["calls_read"]) == ("done", 2, 2)
    # What the answer to GET …/simulate would be, but for the time of asking.
    monkeypatch.setattr(views, "MOST_CALLS_AT_ONCE", 2)
    at_once = client_of(staff).get(SIMULATE).json()
    times = {"from", "to"}
    assert {k: v for k, v in found["result"].items() if k not in times} == {
        k: v for k, v in at_once.items() if k not in times
    }
    assert found["result"]["totals"]["credits_under_version"] == "6.00000000"


def test_a_short_history_is_simulated_with_the_request(staff):
    make_next()
    asked = client_of(staff).post(SIMULATIONS, {"days": 7})
    assert (asked.status_code, asked.json()["status"], asked.json()["result"]["totals"]["calls"]) == (201, "done", 0)


@pytest.mark.parametrize("days", [0, -1, 367, 100_000, "7", "NaN", 1.5, True, None, [], 10**40])
def test_other_days_of_a_simulation_are_refused(staff, days):
    make_next()
    body = refused(client_of(staff).post(SIMULATIONS, {"days": days}, format="json"), 422, "validation_error")
    assert body["errors"][0]["field"] == "days"
    assert PriceSimulation.objects.count() == 0


def test_a_simulation_of_another_version_or_of_none_is_not_found(staff):
    make_next()
    client = client_of(staff)
    made = client.post(SIMULATIONS, {}).json()["id"]
    assert client.get(f"{SIMULATIONS}/{made}").status_code == 200
    refused(client.get(f"{SIMULATIONS.replace('next', SEED)}/{made}"), 404, "not_found")
    refused(client.get(f"{SIMULATIONS}/01900000-0000-7000-8000-000000000000"), 404, "not_found")
    refused(client.get(f"{SIMULATIONS}/x"), 404, "not_found")
    refused(client.post(SIMULATIONS.replace("next", "unknown"), {}), 404, "not_found")


def test_an_unknown_version_is_not_found(staff):
    refused(client_of(staff).get(SIMULATE), 404, "not_found")


def test_only_staff_who_may_see_prices_and_events(staff):
    make_next()
    refused(client_of(None).get(SIMULATE), 401, "not_authenticated")
    refused(client_of(make_user("alice@example.com")).get(SIMULATE), 403, "admin_required")
    bob = make_staff("view_pricingversion", email="bob@example.com")
    refused(client_of(bob).get(SIMULATE), 403, "permission_denied")
    for who, status, code in (
        (None, 401, "not_authenticated"),
        (make_user("carol@example.com"), 403, "admin_required"),
        (bob, 403, "permission_denied"),
    ):
        refused(client_of(who).post(SIMULATIONS, {}), status, code)
        refused(client_of(who).get(f"{SIMULATIONS}/01900000-0000-7000-8000-000000000000"), status, code)
    assert PriceSimulation.objects.count() == 0

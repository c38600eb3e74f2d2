"""The simulation over HTTP."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from billing.tests.makers import charge, make_wallet
from pricing.rating import TokenPools
from pricing.tests.makers import SEED, client_of, make_next, make_staff, refused
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db

SIMULATE = "/api/v1/admin/pricing/versions/next/simulate"


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


def test_an_unknown_version_is_not_found(staff):
    refused(client_of(staff).get(SIMULATE), 404, "not_found")


def test_only_staff_who_may_see_prices_and_events(staff):
    make_next()
    refused(client_of(None).get(SIMULATE), 401, "not_authenticated")
    refused(client_of(make_user("alice@example.com")).get(SIMULATE), 403, "admin_required")
    bob = make_staff("view_pricingversion", email="bob@example.com")
    refused(client_of(bob).get(SIMULATE), 403, "permission_denied")

"""Prices of tools over the API: made, changed, taken away, shown, or refused with nothing written."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry

from pricing.tests.makers import SEED, SEED_REVISION, client_of, make_staff, price_tool, refused, stored
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db

PUT = f"/api/v1/admin/pricing/versions/{SEED}/tools/search"


@pytest.fixture
def client():
    return client_of(make_staff("view_modelpricing", "change_toolpricing"))


def test_a_tool_gets_a_price_another_one_and_none(client):
    made = client.put(PUT, {"credits_per_call": "0.01"})
    assert made.status_code == 201
    body = made.json()
    assert {name: value for name, value in body.items() if name != "updated_at"} == {
        "tool_name": "search", "credits_per_call": "0.01000000", "pricing_version": SEED, "revision": SEED_REVISION + 1,
    }  # fmt: skip
    changed = client.put(PUT, {"credits_per_call": "0.02", "revision": SEED_REVISION + 1})
    assert (changed.status_code, changed.json()["credits_per_call"]) == (200, "0.02000000")
    assert client.get("/api/v1/admin/pricing").json()["tools"] == {"search": "0.02000000"}
    assert client.get("/api/v1/models").json()["tools"] == {"search": "0.02000000"}
    stale = client.delete(f"{PUT}?revision={SEED_REVISION + 1}")
    assert refused(stale, 409, "stale_revision")["revision"] == SEED_REVISION + 2
    gone = client.delete(f"{PUT}?revision={SEED_REVISION + 2}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert client.get("/api/v1/admin/pricing").json()["tools"] == {}
    refused(client.delete(PUT), 404, "not_found")


def test_an_older_look_is_refused(client):
    price_tool()
    before = stored()
    body = refused(client.put(PUT, {"credits_per_call": "1", "revision": SEED_REVISION}), 409, "stale_revision")
    assert body["revision"] == SEED_REVISION + 1
    assert stored() == before


@pytest.mark.parametrize("value", [0.01, 1, None, True, "", "x", "NaN", "1e3", "-1", "0.000000001", "1000000.00000001"])
def test_a_price_that_is_none_is_refused(client, value):
    before = stored()
    body = refused(client.put(PUT, {"credits_per_call": value}), 422, "validation_error")
    assert [error["field"] for error in body["errors"]] == ["credits_per_call"]
    assert stored() == before


@pytest.mark.parametrize("body", [{}, {"credits_per_call": "1", "status": "active"}, {"revision": 8}])
def test_a_body_without_a_price_or_with_more_is_refused(client, body):
    before = stored()
    refused(client.put(PUT, body), 422, "validation_error")
    assert stored() == before


@pytest.mark.parametrize("name", ["-a", "a%20b", "a.b", "%C3%A4", "a" * 65])
def test_a_tool_is_well_named(client, name):
    before = stored()
    url = f"/api/v1/admin/pricing/versions/{SEED}/tools/{name}"
    assert refused(client.put(url, {"credits_per_call": "1"}), 422, "validation_error")["errors"][0]["field"] == (
        "tool_name"
    )
    refused(client.delete(url), 404, "not_found")
    assert stored() == before


def test_an_unknown_version_is_not_found(client):
    url = "/api/v1/admin/pricing/versions/unknown/tools/search"
    refused(client.put(url, {"credits_per_call": "1"}), 404, "not_found")
    refused(client.delete(url), 404, "not_found")


def test_only_staff_with_the_permission_may(client):
    price_tool()
    before = stored()
    others = (
        client_of(make_staff("change_modelpricing", email="bob@example.com")),
        client_of(make_user("a@example.com")),
    )
    for other, code in zip(others, ("permission_denied", "admin_required"), strict=True):
        refused(other.put(PUT, {"credits_per_call": "1"}), 403, code)
        refused(other.delete(PUT), 403, code)
    refused(client_of(None).put(PUT, {"credits_per_call": "1"}), 401, "not_authenticated")
    assert stored() == before


def test_what_a_tool_costs_now_is_in_djangos_log(client):
    client.put(PUT, {"credits_per_call": "0.5"})
    client.put(PUT, {"credits_per_call": "0.5"})
    client.put(PUT, {"credits_per_call": "0"})
    client.delete(PUT)
    assert [entry.change_message for entry in LogEntry.objects.order_by("id")] == [
        "Tool search: free → 0.50000000 a call.",
        "Tool search: 0.50000000 → 0.00000000 a call.",
        "Tool search: 0.00000000 → free.",
    ]

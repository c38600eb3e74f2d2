"""The admin API: who may, what it answers, and that nothing is written where it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pricing.models import PricingRevision
from pricing.tests.makers import (
    SEED,
    SEED_REVISION,
    add_price,
    client_of,
    make_draft,
    make_staff,
    price,
    refused,
    retire,
    stored,
)
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db

PATCH = "/api/v1/admin/pricing/gpt-4o"
PUT = f"/api/v1/admin/pricing/versions/{SEED}/models/gpt-5"
NEW = {"multiplier": "0.1", "provider_model": "gpt-5-2026", "context_tokens": 400_000}


@pytest.fixture
def staff():
    return make_staff("view_modelpricing", "change_modelpricing")


@pytest.fixture
def client(staff):
    return client_of(staff)


def calls(client: Any) -> list[Any]:
    return [
        lambda: client.get("/api/v1/admin/pricing"),
        lambda: client.patch(PATCH, {"multiplier": "2.5"}),
        lambda: client.put(PUT, NEW),
    ]


@pytest.mark.parametrize(
    ("caller", "status", "code"),
    [
        ("nobody", 401, "not_authenticated"),
        ("alice", 403, "admin_required"),
        ("alice with the permission", 403, "admin_required"),
        ("staff without the permission", 403, "permission_denied"),
    ],
)
def test_only_staff_with_the_right_permission(caller, status, code):
    user = None
    if caller == "staff without the permission":
        user = make_staff()
    elif caller != "nobody":
        user = make_staff("view_modelpricing", "change_modelpricing", email="alice@example.com")
        user.is_staff = False
        if caller == "alice":
            user.user_permissions.clear()
        user.save()
    before = stored()
    for call in calls(client_of(user)):
        refused(call(), status, code)
    assert stored() == before


def test_who_may_look_may_not_change():
    looks, changes, puts = calls(client_of(make_staff("view_modelpricing")))
    assert looks().status_code == 200
    refused(changes(), 403, "permission_denied")
    refused(puts(), 403, "permission_denied")


def test_a_listed_admin_needs_no_permission(settings):
    user = make_user()
    settings.ADMIN_USER_IDS = frozenset({str(user.pk)})
    assert [call().status_code for call in calls(client_of(user))] == [200, 200, 201]


def test_the_active_version_is_shown(client):
    body = client.get("/api/v1/admin/pricing").json()
    assert (body["pricing_version"], body["revision"], body["status"]) == (SEED, SEED_REVISION, "active")
    assert body["weights"] == {
        "input_fresh": "0.3500",
        "input_cache_write": "0.3500",
        "input_cached": "0.1000",
        "output": "1.0000",
        "divisor": "10000.0000",
    }
    assert len(body["models"]) == 7
    assert body["models"][1] == {
        "model_alias": "claude-sonnet",
        "multiplier": "1.5000",
        "provider": "default",
        "provider_model": "claude-sonnet-4-5",
        "context_tokens": 200_000,
        "fallback_alias": None,
        "provider_input_usd_per_mtok": "3.00000000",
        "provider_cached_input_usd_per_mtok": "0.30000000",
        "provider_cache_write_usd_per_mtok": "3.75000000",
        "provider_output_usd_per_mtok": "15.00000000",
    }
    assert body["models"][2]["provider_cache_write_usd_per_mtok"] is None


def test_another_version_is_shown_by_name(client):
    add_price(make_draft("v2"), "gpt-5")
    body = client.get("/api/v1/admin/pricing?pricing_version=v2").json()
    assert (body["pricing_version"], body["status"], body["revision"]) == ("v2", "draft", 2)
    assert [row["model_alias"] for row in body["models"]] == ["gpt-5"]


@pytest.mark.parametrize("name", ["unknown", "", "%00", "a%2Fb", "%ED%A0%80", "x" * 500])
def test_an_unknown_version_is_not_found(client, name):
    refused(client.get(f"/api/v1/admin/pricing?pricing_version={name}"), 404, "not_found")
    refused(client.patch(PATCH, {"multiplier": "1", "pricing_version": "unknown"}), 404, "not_found")


def test_a_multiplier_is_patched_and_answers_with_the_row(client, staff):
    answer = client.patch(PATCH, {"multiplier": "2.5"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["model_alias"], body["multiplier"], body["provider_model"]) == ("gpt-4o", "2.5000", "gpt-4o")
    assert (body["pricing_version"], body["revision"]) == (SEED, SEED_REVISION + 1)
    assert body["updated_at"].endswith("Z")
    recorded = PricingRevision.objects.get(pricing_version=SEED, revision=SEED_REVISION + 1)
    assert recorded.actor == str(staff.pk)
    assert recorded.changes == {"multiplier": {"old": "2.0000", "new": "2.5000"}}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        *(("0.8", "0.8000"), ('"0.8"', "0.8000"), ("0", "0.0000"), ("3", "3.0000"), ('"0.0001"', "0.0001")),
        *(("0.0001", "0.0001"), ("99999999.9999", "99999999.9999"), ("1.10", "1.1000"), ("8e-1", "0.8000")),
        *(("0.8" + "0" * 40, "0.8000"), ("0.0e-7", "0.0000"), ("-0.0", "0.0000")),
    ],
)
def test_multipliers_are_taken_as_text_or_as_numbers(client, written, shown):
    answer = client.patch(PATCH, f'{{"multiplier": {written}}}', content_type="application/json")
    assert (answer.status_code, answer.json()["multiplier"]) == (200, shown)
    assert f"{price().multiplier:.4f}" == shown


@pytest.mark.parametrize(
    "written",
    [
        *("-1", "-0.5", '"-1"', '"-0"', '"+1"', '"1e-5"', '"1e3"', "0.00001", "1e-5", "1.00001", '"1.00000"'),
        *("1e400", "-1e400", "100000000", '"100000000"', "1e8", '"NaN"', '"Infinity"', '"-inf"', '"1e400"'),
        *("true", "false", "null", '""', '" 1"', '"1 "', '"1\\n"', '"٣"', "[]", "{}", "[1]", '"\\u0000"', '"\\ud800"'),
        *("9" * 400, f'"{"1" * 9000}"', '"0x10"', '"1_0"', '"1,5"', '".5"', '"1."'),
        # As floats these are 0.8, 1, 0 and 0.
        *("0.8" + "0" * 40 + "1", "0." + "9" * 40, "1e-400", "1e-99999999999999999999"),
    ],
)
def test_what_is_no_multiplier_is_refused(client, written):
    before = stored()
    body = refused(
        client.patch(PATCH, f'{{"multiplier": {written}}}', content_type="application/json"), 422, "validation_error"
    )
    assert [error["field"] for error in body["errors"]] == ["multiplier"]
    new = json.dumps({name: value for name, value in NEW.items() if name != "multiplier"})[1:-1]
    refused(
        client.put(PUT, f'{{{new}, "multiplier": {written}}}', content_type="application/json"), 422, "validation_error"
    )
    assert stored() == before


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "", "01", "1.", "'1'", "9" * 5000])
def test_what_is_no_json_is_refused(client, written):
    before = stored()
    answer = client.patch(PATCH, f'{{"multiplier": {written}}}', content_type="application/json")
    refused(answer, 400, "malformed_json")
    assert stored() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "multiplier"),
        ({"multiplier": "1", "multiplyer": "2"}, "multiplyer"),
        ({"multiplier": "1", "actor": "me"}, "actor"),
        ({"multiplier": "1", "revision": 0}, "revision"),
        ({"multiplier": "1", "revision": -1}, "revision"),
        ({"multiplier": "1", "revision": 1.5}, "revision"),
        ({"multiplier": "1", "revision": True}, "revision"),
        ({"multiplier": "1", "revision": "x"}, "revision"),
        ({"multiplier": "1", "revision": None}, "revision"),
        ({"multiplier": "1", "revision": 2**63}, "revision"),
        ({"multiplier": "1", "pricing_version": None}, "pricing_version"),
        ({"multiplier": "1", "pricing_version": 1.5e300}, "pricing_version"),
        ({"multiplier": "1", "pricing_version": ["x"]}, "pricing_version"),
        ({"multiplier": "1", "pricing_version": ""}, "pricing_version"),
        ({"multiplier": "1", "pricing_version": "a\x00"}, "pricing_version"),
        ({"multiplier": "1", "pricing_version": "x" * 65}, "pricing_version"),
    ],
)
def test_bad_bodies_of_a_patch_are_refused(client, body, field):
    before = stored()
    answer = refused(client.patch(PATCH, body), 422, "validation_error")
    assert answer["errors"][0]["field"].startswith(field)
    assert stored() == before


@pytest.mark.parametrize("body", ["[]", '"x"', "1", "null", "[[1]]"])
def test_a_body_is_an_object(client, body):
    before = stored()
    for answer in (
        client.patch(PATCH, body, content_type="application/json"),
        client.put(PUT, body, content_type="application/json"),
    ):
        refused(answer, 422, "validation_error")
    assert stored() == before


@pytest.mark.parametrize(
    "alias", ["unknown", "gpt", "GPT-4o", "gpt-4o/", "a%00", "%ED%A0%80", "x" * 300, "a b", "../x"]
)
def test_an_unknown_alias_is_not_found(client, alias):
    before = stored()
    refused(client.patch(f"/api/v1/admin/pricing/{alias}", {"multiplier": "1"}), 404, "unknown_model_alias")
    assert stored() == before


def test_who_was_slower_is_told_where_things_stand(client):
    assert client.patch(PATCH, {"multiplier": "2.5", "revision": SEED_REVISION}).status_code == 200
    before = stored()
    body = refused(client.patch(PATCH, {"multiplier": "3", "revision": SEED_REVISION}), 409, "stale_revision")
    assert (body["pricing_version"], body["revision"]) == (SEED, SEED_REVISION + 1)
    refused(client.put(PUT, {**NEW, "revision": SEED_REVISION}), 409, "stale_revision")
    assert stored() == before
    assert client.patch(PATCH, {"multiplier": "3", "revision": body["revision"]}).json()["multiplier"] == "3.0000"


@pytest.mark.parametrize("status", ["scheduled", "retired"])
def test_scheduled_and_retired_versions_are_not_editable(client, status):
    draft = make_draft("v2")
    add_price(draft)
    if status == "retired":
        retire(draft)
    else:
        draft.status = "scheduled"
        draft.save()
    before = stored()
    body = refused(client.patch(PATCH, {"multiplier": "1", "pricing_version": "v2"}), 409, "version_not_editable")
    assert (body["pricing_version"], body["version_status"]) == ("v2", status)
    refused(client.put("/api/v1/admin/pricing/versions/v2/models/gpt-4o", NEW), 409, "version_not_editable")
    assert stored() == before


def test_a_draft_is_patched_by_name(client):
    add_price(make_draft("v2"))
    body = client.patch(PATCH, {"multiplier": "9", "pricing_version": "v2"}).json()
    assert (body["pricing_version"], body["multiplier"]) == ("v2", "9.0000")
    assert price().multiplier == 2


@pytest.mark.parametrize(
    ("method", "path"), [("post", PATCH), ("delete", PATCH), ("post", PUT), ("put", "/api/v1/models")]
)
def test_other_methods_are_not_allowed(client, method, path):
    before = stored()
    refused(getattr(client, method)(path, {}), 405, "method_not_allowed")
    assert stored() == before

"""Price versions over HTTP: who may, what is answered, and that nothing is written where it is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from pricing import lifecycle, services
from pricing.models import PricingRevision, PricingVersion
from pricing.tests.makers import (
    SEED,
    SEED_REVISION,
    client_of,
    in_an_hour,
    make_next,
    make_scheduled,
    make_staff,
    price_tool,
    refused,
    statuses,
    stored,
)

pytestmark = pytest.mark.django_db

VERSIONS = "/api/v1/admin/pricing/versions"
NEXT = f"{VERSIONS}/next"
RIGHTS = ("view_pricingversion", "add_pricingversion", "change_pricingversion", "delete_modelpricing")


@pytest.fixture
def staff():
    return make_staff(*RIGHTS)


@pytest.fixture
def client(staff):
    return client_of(staff)


def calls(client):
    return [
        lambda: client.get(VERSIONS),
        lambda: client.post(VERSIONS, {"version": "v2"}),
        lambda: client.get(NEXT),
        lambda: client.patch(NEXT, {"note": "x"}),
        lambda: client.post(f"{NEXT}/schedule", {"effective_at": in_an_hour().isoformat()}),
        lambda: client.post(f"{NEXT}/unschedule"),
        lambda: client.post(f"{NEXT}/activate"),
        lambda: client.post(f"{NEXT}/rollback"),
        lambda: client.get(f"{NEXT}/diff"),
        lambda: client.delete(f"{NEXT}/models/gpt-4o"),
    ]


@pytest.mark.parametrize(
    ("caller", "status", "code"),
    [
        ("nobody", 401, "not_authenticated"),
        ("alice with the permissions", 403, "admin_required"),
        ("staff without the permissions", 403, "permission_denied"),
    ],
)
def test_only_staff_with_the_right_permission(caller, status, code):
    make_next()
    user = None
    if caller == "staff without the permissions":
        user = make_staff("view_modelpricing", "change_modelpricing", email="bob@example.com")
    elif caller != "nobody":
        user = make_staff(*RIGHTS, email="alice@example.com")
        user.is_staff = False
        user.save()
    before = stored()
    for call in calls(client_of(user)):
        refused(call(), status, code)
    assert stored() == before


def test_versions_are_listed_newest_first_page_by_page(client):
    for name in ("one", "two"):
        make_next(name)
    page = client.get(VERSIONS, {"page_size": 2}).json()
    assert [row["version"] for row in page["results"]] == ["two", "one"]
    last = client.get(page["next"]).json()
    assert last["next"] is None
    (seed,) = last["results"]
    assert (seed["version"], seed["status"], seed["revision"]) == (SEED, "active", SEED_REVISION)
    assert seed["weights"] == {
        "input_fresh": "0.3500", "input_cache_write": "0.3500", "input_cached": "0.1000", "output": "1.0000",
    }  # fmt: skip
    assert (seed["divisor"], seed["retired_at"]) == ("10000.0000", None)
    refused(client.get(VERSIONS, {"page_size": 0}), 422, "validation_error")


def test_a_draft_is_made_changed_scheduled_taken_back_and_activated(client, staff):
    planned = in_an_hour()
    body = {"version": "next", "weights": {"output": "1.25"}, "divisor": 5000, "note": "dearer output"}
    made = client.post(VERSIONS, {**body, "clone_from": SEED, "effective_at": planned.isoformat()})
    assert made.status_code == 201
    draft = made.json()
    assert (draft["version"], draft["status"], draft["weights"]["output"], draft["divisor"], draft["note"]) == (
        "next", "draft", "1.2500", "5000.0000", "dearer output",
    )  # fmt: skip
    changed = client.patch(NEXT, {"weights": {"input_cached": "0.05"}, "revision": draft["revision"]}).json()
    assert (changed["weights"]["input_cached"], changed["weights"]["output"]) == ("0.0500", "1.2500")
    assert changed["revision"] == draft["revision"] + 1
    scheduled = client.post(f"{NEXT}/schedule")
    assert (scheduled.status_code, scheduled.json()["status"]) == (200, "scheduled")
    refused(client.patch(NEXT, {"note": "x"}), 409, "version_not_editable")
    assert client.post(f"{NEXT}/unschedule").json()["status"] == "draft"
    activated = client.post(f"{NEXT}/activate", {"replaces": SEED, "revision": changed["revision"] + 2})
    assert (activated.status_code, activated.json()["status"]) == (200, "active")
    assert statuses() == {SEED: "retired", "next": "active"}
    assert set(PricingRevision.objects.filter(pricing_version="next").values_list("actor", flat=True)) == {
        str(staff.pk)
    }


def test_a_version_is_shown_with_its_prices(client):
    make_next()
    body = client.get(NEXT).json()
    assert (body["version"], body["status"], body["revision"]) == ("next", "draft", SEED_REVISION + 1)
    assert {row["model_alias"]: row["multiplier"] for row in body["models"]} == {
        "deepseek": "0.5000", "gemini-flash": "0.8000", "gemini-pro": "1.2000", "gpt-4o-mini": "1.0000",
        "gpt-4o": "3.0000", "claude-haiku": "0.8000", "claude-sonnet": "1.5000",
    }  # fmt: skip


def test_the_plan_of_a_draft_is_taken_back(client):
    make_next(effective_at=in_an_hour())
    assert client.get(NEXT).json()["effective_at"] is not None
    assert client.patch(NEXT, {"effective_at": None}, format="json").json()["effective_at"] is None


def test_a_rollback_makes_and_activates_a_new_version(client):
    make_next()
    assert client.post(f"{NEXT}/activate").status_code == 200
    refused(client.post(f"{VERSIONS}/{SEED}/rollback", {"revision": 1}), 409, "stale_revision")
    made = client.post(f"{VERSIONS}/{SEED}/rollback", {"replaces": "next", "revision": SEED_REVISION + 1})
    assert made.status_code == 201
    assert (made.json()["version"], made.json()["status"]) == (f"{SEED}-rollback-1", "active")
    body = refused(client.post(f"{VERSIONS}/{SEED}/rollback", {"replaces": "next"}), 409, "stale_revision")
    assert body["pricing_version"] == f"{SEED}-rollback-1"
    refused(client.post(f"{VERSIONS}/{SEED}-rollback-1/rollback"), 409, "version_not_editable")
    refused(client.post(f"{NEXT}/rollback", {"version": SEED}), 422, "validation_error")


def test_an_alias_is_removed_from_a_draft(client):
    make_next()
    assert client.delete(f"{NEXT}/models/deepseek?revision={SEED_REVISION + 1}").status_code == 204
    refused(client.delete(f"{NEXT}/models/deepseek"), 404, "unknown_model_alias")
    refused(client.delete(f"{NEXT}/models/gpt-4o?revision=1"), 409, "stale_revision")
    refused(client.delete(f"{NEXT}/models/gpt-4o?revision=x"), 422, "validation_error")
    refused(client.delete(f"{VERSIONS}/{SEED}/models/gpt-4o"), 409, "version_not_editable")


DECIMALS = [
    -1, "-1", "NaN", "Infinity", "1e400", "1." + "1" * 40, "0.00001", "1" + "0" * 30, "", " ", None, True, [], {},
    "1e2", "x", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("value", DECIMALS)
@pytest.mark.parametrize("member", ["divisor", "weights"])
def test_a_bad_number_is_refused(client, member, value):
    make_next()
    before = stored()
    given = {member: {"output": value} if member == "weights" else value}
    refused(client.patch(NEXT, given, format="json"), 422, "validation_error")
    refused(client.post(VERSIONS, {"version": "v2", **given}, format="json"), 422, "validation_error")
    assert stored() == before


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1E+400"])
def test_a_json_number_beyond_every_float_is_refused(client, text):
    make_next()
    before = stored()
    answer = client.generic("PATCH", NEXT, f'{{"divisor": {text}}}', content_type="application/json")
    assert answer.status_code in {400, 422}
    assert stored() == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": ""},
        {"version": None},
        {"version": 5},
        {"version": SEED},
        {"version": "a b"},
        {"version": "a/b"},
        {"version": "a" * 65},
        {"version": "v2", "status": "active"},
        {"version": "v2", "divisor": 0},
        {"version": "v2", "weights": []},
        {"version": "v2", "weights": {"reasoning": 1}},
        {"version": "v2", "note": 5},
        {"version": "v2", "note": "a" * 2001},
        {"version": "v2", "note": "\ud800"},
        {"version": "v2", "effective_at": "soon"},
        {"version": "v2", "effective_at": "2020-01-01T00:00:00Z"},
        {"version": "v2", "effective_at": "9999-12-31T23:59:59-12:00"},
        {"version": "v2", "effective_at": "2099-01-01T00:00:00"},
        {"version": "v2", "effective_at": "2099-01-01"},
        {"version": "v2", "clone_from": 5},
    ],
)
def test_a_bad_draft_is_refused(client, body):
    before = stored()
    answer = client.generic("POST", VERSIONS, json.dumps(body), content_type="application/json")
    refused(answer, 422, "validation_error")
    assert stored() == before


def test_a_name_that_exists_is_refused_by_its_field(client):
    body = refused(client.post(VERSIONS, {"version": SEED}), 422, "validation_error")
    assert [(error["field"], error["code"]) for error in body["errors"]] == [("version", "unique")]


def test_what_does_not_exist_is_not_found(client):
    for name in ("unknown", "%00", "a%20b"):
        url = f"{VERSIONS}/{name}"
        for call in (
            lambda url=url: client.get(url),
            lambda url=url: client.patch(url, {"note": "x"}),
            lambda url=url: client.post(f"{url}/schedule", {"effective_at": in_an_hour().isoformat()}),
            lambda url=url: client.post(f"{url}/unschedule"),
            lambda url=url: client.post(f"{url}/activate"),
            lambda url=url: client.post(f"{url}/rollback"),
            lambda url=url: client.get(f"{url}/diff"),
            lambda url=url: client.delete(f"{url}/models/gpt-4o"),
        ):
            refused(call(), 404, "not_found")
    refused(client.post(VERSIONS, {"version": "v2", "clone_from": "unknown"}), 404, "not_found")
    refused(client.get(f"{VERSIONS}/{SEED}/diff?against=unknown"), 404, "not_found")
    refused(client.get(f"{VERSIONS}/{SEED}/elsewhere"), 404, "not_found")


def test_two_editors_at_once_the_second_is_told(client):
    make_next()
    seen = client.get(NEXT).json()["revision"]
    assert client.patch(NEXT, {"note": "first", "revision": seen}).status_code == 200
    before = stored()
    for call in (
        lambda: client.patch(NEXT, {"note": "second", "revision": seen}),
        lambda: client.post(f"{NEXT}/schedule", {"effective_at": in_an_hour().isoformat(), "revision": seen}),
        lambda: client.post(f"{NEXT}/unschedule", {"revision": seen}),
        lambda: client.post(f"{NEXT}/activate", {"revision": seen}),
    ):
        assert refused(call(), 409, "stale_revision")["revision"] == seen + 1
    assert stored() == before


@pytest.mark.parametrize("revision", [0, -1, "8", 1.5, True, None, 2**31])
def test_a_bad_revision_is_refused(client, revision):
    make_next()
    before = stored()
    for path in ("schedule", "unschedule", "activate", "rollback"):
        refused(client.post(f"{NEXT}/{path}", {"revision": revision}, format="json"), 422, "validation_error")
    assert stored() == before


def test_a_version_is_scheduled_only_for_a_time_to_come(client):
    make_next()
    past = (timezone.now() - timedelta(minutes=1)).isoformat()
    body = refused(client.post(f"{NEXT}/schedule", {"effective_at": past}), 422, "validation_error")
    assert [(error["field"], error["code"]) for error in body["errors"]] == [("effective_at", "not_in_future")]
    body = refused(client.post(f"{NEXT}/schedule"), 422, "validation_error")
    assert [(error["field"], error["code"]) for error in body["errors"]] == [("effective_at", "required")]
    assert statuses()["next"] == "draft"


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        ("2099-01-01T08:00:00", "no_time_zone"),
        ("2099-01-01", "no_time_zone"),
        ("NaN", "invalid"),
        ("", "invalid"),
        (None, "null"),
        ("10000-01-01T00:00:00Z", "invalid"),
        ("9999-12-31T23:59:59-14:00", "overflow"),
        ("0001-01-01T00:00:00+14:00", "overflow"),
        ("2099-02-30T00:00:00Z", "invalid"),
    ],
)
def test_a_time_that_is_none_is_refused(client, moment, code):
    make_next()
    before = stored()
    answer = client.post(f"{NEXT}/schedule", {"effective_at": moment}, format="json")
    body = refused(answer, 422, "validation_error")
    assert [(error["field"], error["code"]) for error in body["errors"]] == [("effective_at", code)]
    assert stored() == before


def test_the_last_moment_of_all_can_be_waited_for(client):
    make_next()
    answer = client.post(f"{NEXT}/schedule", {"effective_at": "9999-12-31T23:59:59Z"})
    assert (answer.status_code, answer.json()["effective_at"]) == (200, "9999-12-31T23:59:59Z")


def test_an_edit_of_what_is_to_be_replaced_refuses_who_has_not_seen_it(client):
    make_next()
    assert client.post(f"{NEXT}/activate").status_code == 200
    make_next("other")
    services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(9), actor="bob")
    seen, edited = SEED_REVISION + 2, SEED_REVISION + 3
    before = stored()
    for url in (f"{VERSIONS}/other/activate", f"{VERSIONS}/{SEED}/rollback"):
        body = refused(client.post(url, {"replaces": "next", "replaces_revision": seen}), 409, "stale_revision")
        assert (body["pricing_version"], body["revision"]) == ("next", edited)
        refused(client.post(url, {"replaces_revision": 0}), 422, "validation_error")
    assert stored() == before
    answer = client.post(f"{VERSIONS}/other/activate", {"replaces": "next", "replaces_revision": edited})
    assert (answer.status_code, answer.json()["status"]) == (200, "active")


def test_states_that_do_not_follow_are_refused(client):
    make_scheduled()
    refused(client.post(f"{NEXT}/rollback"), 409, "version_not_editable")
    assert client.post(f"{NEXT}/activate").status_code == 200
    later = {"effective_at": in_an_hour().isoformat()}
    before = stored()
    for name in ("next", SEED):
        body = refused(client.post(f"{VERSIONS}/{name}/schedule", later), 409, "version_not_editable")
        assert body["version_status"] == ("active" if name == "next" else "retired")
        refused(client.post(f"{VERSIONS}/{name}/unschedule"), 409, "version_not_editable")
    refused(client.post(f"{VERSIONS}/{SEED}/activate"), 409, "version_not_editable")
    assert client.post(f"{NEXT}/activate").status_code == 200
    assert stored() == before


def test_a_diff_names_every_change_with_its_per_cent(client):
    make_next(weight_output=Decimal("1.5"))
    assert client.delete(f"{NEXT}/models/deepseek").status_code == 204
    body = client.get(f"{NEXT}/diff").json()
    assert (body["version"], body["against"], body["against_revision"]) == ("next", SEED, SEED_REVISION)
    assert body["weights"] == [{"name": "output", "old": "1.0000", "new": "1.5000", "percent": "50.00"}]
    models, tools = body["rows"]
    assert (tools["name"], tools["added"], tools["removed"], tools["changed"]) == ("tools", [], [], [])
    assert (models["name"], models["key"], models["added"]) == ("models", "model_alias", [])
    assert [row["key"] for row in models["removed"]] == ["deepseek"]
    assert models["changed"] == [
        {
            "key": "gpt-4o",
            "values": [{"name": "multiplier", "old": "2.0000", "new": "3.0000", "percent": "50.00"}],
        }
    ]
    question, _, _ = body["samples"]
    assert question["calls"] == [{"input_fresh": 400, "input_cached": 0, "input_cache_write": 0, "output": 250}]
    prices = {price.pop("model_alias"): price for price in question["prices"]}
    # (0.35 x 400 + 250) x 2 / 10000, and (0.35 x 400 + 1.5 x 250) x 3 / 10000
    assert prices["gpt-4o"] == {"old": "0.07800000", "new": "0.15450000", "percent": "98.08"}
    assert prices["deepseek"] == {"old": "0.01950000", "new": None, "percent": None}
    assert client.get(f"{NEXT}/diff", {"against": "next"}).json()["rows"][0]["changed"] == []


def test_a_diff_after_activation_is_against_what_is_named(client):
    make_next()
    lifecycle.activate(pricing_version="next", actor="alice")
    body = client.get(f"{NEXT}/diff", {"against": SEED}).json()
    (change,) = body["rows"][0]["changed"]
    assert change["values"][0]["percent"] == "50.00"
    assert PricingVersion.objects.get(status="active").version == "next"


def test_a_diff_tells_what_tools_cost_and_a_draft_keeps_it(client):
    price_tool("search", "0.01")
    make_next()
    price_tool("search", "0.02", version="next")
    price_tool("file_read", "0.5", version="next")
    [_, tools] = client.get(f"{NEXT}/diff").json()["rows"]
    cost = {"name": "credits_per_call", "old": None, "new": "0.50000000", "percent": None}
    assert (tools["name"], tools["removed"]) == ("tools", [])
    assert tools["added"] == [{"key": "file_read", "values": [cost]}]
    assert tools["changed"] == [
        {"key": "search", "values": [{**cost, "old": "0.01000000", "new": "0.02000000", "percent": "100.00"}]}
    ]  # fmt: skip


def test_what_staff_do_over_http_is_in_djangos_log_once(client, staff):
    client.post(VERSIONS, {"version": "next"})
    for _ in range(2):
        client.patch(NEXT, {"note": "x", "weights": {"output": "1.25"}})
    client.delete(f"{NEXT}/models/deepseek")
    for _ in range(2):
        client.post(f"{NEXT}/schedule", {"effective_at": "2099-01-02T08:00:00Z"})
    for _ in range(2):
        client.post(f"{NEXT}/unschedule")
    for _ in range(2):
        client.post(f"{NEXT}/activate")
    client.post(f"{VERSIONS}/{SEED}/rollback")
    # Refused, and so not told of.
    refused(client.post(f"{VERSIONS}/{SEED}/activate"), 409, "version_not_editable")
    entries = LogEntry.objects.order_by("id")
    assert [(entry.object_repr, entry.change_message) for entry in entries] == [
        ("next", f"next is a draft, cloned from {SEED}."),
        ("next", "Weight output: 1.0000 → 1.2500. Note: – → x."),
        ("next", "Took deepseek out."),
        ("next", "next comes into force on 2099-01-02 at 08:00 UTC."),
        ("next", "next is a draft again."),
        ("next", "next is in force."),
        (f"{SEED}-rollback-1", f"{SEED}-rollback-1 is in force, with the prices of {SEED}."),
    ]
    assert {entry.user for entry in entries} == {staff}

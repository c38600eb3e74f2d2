"""Usage of everybody for staff, over HTTP: exact strings, the same in CSV, and what is refused."""

from __future__ import annotations

import asyncio
import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from rest_framework.test import APIClient

from billing.rollup.rolling import roll_up
from billing.tests.makers import charge_at, make_call, make_direct_call
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_person
from users.models import User

pytestmark = pytest.mark.django_db
API = "/api/v1"
SUMMARY, ACTIVE = f"{API}/admin/usage/summary", f"{API}/admin/analytics/active-users"
CREDIT = TokenPools(output=10_000)
# The night in which clocks go back in Los Angeles.
NIGHT = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
SPAN = "from=2026-10-31&to=2026-11-03"


def client_of(person):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.token}")
    return client


def lines_of(answer):
    """The rows of a CSV that streams."""

    async def text():
        return b"".join([chunk async for chunk in answer.streaming_content]).decode()

    return list(csv.reader(asyncio.run(text()).splitlines()))


@pytest.fixture
def alice():
    return make_person("alice", credits="100")


@pytest.fixture
def bob():
    return make_person("bob", credits="100")


@pytest.fixture
def auditor():
    person = make_person("auditor", is_staff=True)
    User.objects.get(pk=person.id).user_permissions.add(Permission.objects.get(codename="view_llmcallevent"))
    return person


@pytest.fixture
def night(alice, bob):
    """One call in each of the hours that clocks there show as one o'clock, and one of bob's two days later."""
    charge_at(NIGHT, alice.id, make_call(CREDIT, provider_cost_usd=Decimal("0.006")))
    charge_at(NIGHT + timedelta(hours=1), alice.id, make_call(CREDIT, alias="gpt-4o", usage_source="estimated"))
    charge_at(NIGHT + timedelta(days=1), bob.id, make_direct_call(CREDIT, provider_cost_usd=Decimal("0.01")))


@pytest.mark.parametrize("is_rolled", [False, True])
def test_a_summary_shows_what_was_charged_and_what_it_cost(auditor, alice, bob, night, settings, is_rolled):
    settings.CREDIT_USD_VALUE = Decimal("0.02")
    if is_rolled:
        roll_up(timezone.now())
    shown = client_of(auditor).get(f"{SUMMARY}?{SPAN}&group_by=user,model_alias&tz=America/Los_Angeles").json()
    assert shown["totals"] == {
        "call_count": 3,
        "input_tokens_fresh": 0,
        "input_tokens_cached": 0,
        "output_tokens": 30_000,
        "oe_tokens": "30000.0000",
        "credits_burned": "4.0000",
        "credits_charged": "4.00000000",
        "credits_with_cost": "2.00000000",
        "provider_cost_usd": "0.01600000",
        "calls_without_cost": 1,
        "margin_usd": "0.02400000",
        "calls_estimated": 1,
        "credits_estimated": "2.00000000",
    }
    assert [(row["user"], row["model_alias"], row["credits_charged"]) for row in shown["breakdown"]] == [
        (str(alice.id), "gpt-4o", "2.00000000"),
        *sorted((str(person.id), "gpt-4o-mini", "1.00000000") for person in (alice, bob)),
    ]
    assert [(row["start"], row["call_count"], row["provider_cost_usd"]) for row in shown["buckets"]] == [
        ("2026-11-01T07:00:00Z", 2, "0.00600000"), ("2026-11-02T08:00:00Z", 1, "0.01000000"),
    ]  # fmt: skip
    assert shown["others"] is None


def test_without_the_value_of_a_credit_there_is_no_margin(auditor, night):
    assert client_of(auditor).get(f"{SUMMARY}?{SPAN}").json()["totals"]["margin_usd"] is None


def test_the_hour_that_clocks_show_twice_is_two_buckets(auditor, night):
    shown = client_of(auditor).get(f"{SUMMARY}?{SPAN}&bucket=hour&tz=America/Los_Angeles").json()
    assert [(row["start"], row["call_count"]) for row in shown["buckets"]] == [
        ("2026-11-01T08:00:00Z", 1), ("2026-11-01T09:00:00Z", 1), ("2026-11-02T08:00:00Z", 1),
    ]  # fmt: skip


def test_a_summary_can_be_of_one_user_or_one_alias(auditor, alice, night):
    client = client_of(auditor)
    of_alice = client.get(f"{SUMMARY}?{SPAN}&user_id={alice.id}").json()
    assert of_alice["totals"]["credits_charged"] == "3.00000000"
    of_alias = client.get(f"{SUMMARY}?{SPAN}&model_alias=gpt-4o").json()
    assert [row["model_alias"] for row in of_alias["breakdown"]] == ["gpt-4o"]
    assert client.get(f"{SUMMARY}?{SPAN}&model_alias=nobody").json()["totals"]["call_count"] == 0


def test_active_users_can_be_of_one_user_or_one_alias(auditor, alice, bob, night):
    client = client_of(auditor)
    for asked, days in (
        (f"user_id={alice.id}", [("2026-11-01T00:00:00Z", 1)]),
        (f"user_id={bob.id}", [("2026-11-02T00:00:00Z", 1)]),
        ("model_alias=gpt-4o", [("2026-11-01T00:00:00Z", 1)]),
        ("model_alias=gpt-4o-mini", [("2026-11-01T00:00:00Z", 1), ("2026-11-02T00:00:00Z", 1)]),
        (f"model_alias=gpt-4o&user_id={bob.id}", []),
    ):
        shown = client.get(f"{ACTIVE}?{SPAN}&{asked}").json()
        assert [(row["start"], row["active_users"]) for row in shown["buckets"]] == days, asked
        assert shown["active_users"] == len(days)
    for wrong in ("user_id=alice", "model_alias=%00", "model_alias=", "from=", "tz="):
        assert client.get(f"{ACTIVE}?{wrong}").json()["code"] == "validation_error", wrong


def test_the_owner_sees_the_same_numbers_of_herself(auditor, alice, night):
    mine = client_of(alice).get(f"{API}/users/me/usage?{SPAN}").json()
    seen = client_of(auditor).get(f"{SUMMARY}?{SPAN}&user_id={alice.id}").json()
    for part in ("breakdown", "buckets"):
        assert [{name: row[name] for name in mine[part][0]} for row in seen[part]] == mine[part]
    assert {name: seen["totals"][name] for name in mine["totals"]} == mine["totals"]


def test_a_limit_leaves_the_rest_in_one_sum(auditor, alice, night):
    shown = client_of(auditor).get(f"{SUMMARY}?{SPAN}&group_by=user&limit=1").json()
    assert [row["user"] for row in shown["breakdown"]] == [str(alice.id)]
    assert shown["others"]["credits_charged"] == "1.00000000"


def test_the_csv_has_the_same_numbers(auditor, night):
    client = client_of(auditor)
    shown = client.get(f"{SUMMARY}?{SPAN}&group_by=model_alias").json()
    answer = client.get(f"{SUMMARY}?{SPAN}&group_by=model_alias", HTTP_ACCEPT="text/csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    head, *rows = lines_of(answer)
    assert head == list(shown["breakdown"][0])[: len(head)] or head[0] == "model_alias"
    assert [dict(zip(head, row, strict=True))["credits_charged"] for row in rows] == [
        *(row["credits_charged"] for row in shown["breakdown"]), shown["totals"]["credits_charged"],
    ]  # fmt: skip
    assert rows[-1][0] == "total"


@pytest.mark.parametrize("is_rolled", [False, True])
def test_active_users_are_counted_once_in_all_and_once_in_each_bucket(auditor, night, is_rolled):
    if is_rolled:
        roll_up(timezone.now())
    client = client_of(auditor)
    assert client.get(f"{ACTIVE}?{SPAN}&tz=Asia/Kathmandu").json() == {
        "active_users": 2,
        "buckets": [
            {"start": "2026-10-31T18:15:00Z", "active_users": 1}, {"start": "2026-11-01T18:15:00Z", "active_users": 1},
        ],
    }  # fmt: skip
    assert client.get(f"{ACTIVE}?{SPAN}&bucket=month").json()["buckets"] == [
        {"start": "2026-11-01T00:00:00Z", "active_users": 2}
    ]
    assert lines_of(client.get(f"{ACTIVE}?{SPAN}&bucket=month", HTTP_ACCEPT="text/csv")) == [
        ["start", "active_users"], ["2026-11-01T00:00:00Z", "2"], ["total", "2"],
    ]  # fmt: skip


WRONG = [
    ("tz=Mars/Olympus", "tz", "invalid"), ("from=NaN", "from", "invalid"), ("to=Infinity", "to", "invalid"),
    ("from=2026-02-01&to=2026-01-01", "from", "invalid"), ("bucket=minute", "bucket", "invalid_choice"),
    ("from=2020-01-01&bucket=hour", "bucket", "too_many_buckets"),
    ("from=0001-01-01&to=9999-12-31&bucket=month", "bucket", "too_many_buckets"),
    ("from=0001-01-01T00:00:00Z&to=0001-01-05T00:00:00Z&tz=America/Los_Angeles", "from", "invalid"),
    ("from=9999-12-30T00:00:00Z&to=9999-12-31T23:59:59Z&tz=Pacific/Kiritimati", "from", "invalid"),
]  # fmt: skip
WRONG_SUMMARY = [
    ("user_id=7", "user_id", "invalid"), ("group_by=password", "group_by", "invalid"),
    ("limit=0", "limit", "min_value"), ("limit=NaN", "limit", "invalid"), ("limit=10001", "limit", "max_value"),
    (f"model_alias={'x' * 65}", "model_alias", "max_length"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "field", "code"), WRONG + WRONG_SUMMARY)
def test_a_wrong_summary_is_named(auditor, query, field, code):
    answer = client_of(auditor).get(f"{SUMMARY}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [(field, code)]


@pytest.mark.parametrize(("query", "field", "code"), WRONG)
def test_wrong_active_users_are_named(auditor, query, field, code):
    answer = client_of(auditor).get(f"{ACTIVE}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [(field, code)]


@pytest.mark.parametrize("url", [SUMMARY, ACTIVE])
def test_only_who_may_see_events_sees_what_they_come_to(url, alice):
    assert client_of(alice).get(url).json()["code"] == "admin_required"
    clerk = make_person("clerk", is_staff=True)
    refused = client_of(clerk).get(url)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert APIClient().get(url).status_code == 401

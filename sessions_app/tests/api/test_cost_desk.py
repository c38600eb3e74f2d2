"""The cost desk in the admin: the same numbers as over HTTP, each table as CSV, and who may look."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from billing.models import ShadowRefusal
from billing.tests.db.test_invariants import damage
from billing.tests.makers import charge_at, make_call, make_direct_call, make_hold, make_tool, settle
from config.core.ids import uuid7
from pricing.rating import TokenPools
from pricing.tests.makers import price_tool
from sessions_app.models import Agent, Room
from sessions_app.tests.makers import make_ended_turn, make_person, make_session
from users.models import User

pytestmark = pytest.mark.django_db
DESK = "/admin/billing/usagetotal/"
CREDIT = TokenPools(output=10_000)
AT = datetime(2026, 5, 4, 12, 7, tzinfo=UTC)
SPAN = {"first": "2026-05-03", "last": "2026-05-05", "tz": "Asia/Kathmandu"}
REPORTS = ["overview", "models", "users", "rooms", "agents", "activity", "exceptions", "turns"]


def browser_of(person):
    client = Client()
    client.force_login(User.objects.get(pk=person.id))
    return client


@pytest.fixture
def auditor():
    person = make_person("auditor", is_staff=True)
    User.objects.get(pk=person.id).user_permissions.add(Permission.objects.get(codename="view_llmcallevent"))
    return person


@pytest.fixture
def browser(auditor):
    return browser_of(auditor)


@pytest.fixture
def alice():
    return make_person("alice", credits="100")


@pytest.fixture
def session(alice):
    """alice's room with an agent whose name begins like a formula, and what they were charged."""
    session_id = make_session(alice, "optimist", model_alias="gpt-4o-mini")
    Agent.objects.update(name="=1+1")
    room, agent = Room.objects.get(), Agent.objects.get()
    charge_at(
        AT, alice.id, make_call(CREDIT, room_id=room.id, agent_id=agent.id, provider_cost_usd=Decimal("0.006")),
        make_call(CREDIT, alias="gpt-4o", room_id=room.id, agent_id=agent.id, usage_source="estimated"),
    )  # fmt: skip
    charge_at(AT + timedelta(days=1), alice.id, make_direct_call(CREDIT))
    return session_id


def rows_of(answer):
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(answer.content.decode().splitlines()))


def test_the_index_leads_to_the_desk(browser):
    assert f'href="{DESK}"' in browser.get("/admin/").content.decode()


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("has_history", [False, True])
def test_every_report_is_a_page_with_its_tables_and_their_csv(browser, request, report, has_history):
    if has_history:
        request.getfixturevalue("session")
    page = browser.get(DESK, {**SPAN, "report": report})
    assert page.status_code == 200
    text = page.content.decode()
    assert "<script" not in text.split('<div id="content-main">')[1].split("</main>")[0]
    tables = re.findall(r"csv=([a-z-]+)\"", text)
    assert tables
    for name in tables:
        answer = browser.get(DESK, {**SPAN, "report": report, "csv": name})
        assert answer.status_code == 200
        assert answer["Content-Disposition"] == f'attachment; filename="{name}-2026-05-03-2026-05-05.csv"'
    assert LogEntry.objects.count() == 0


def test_the_page_and_the_api_say_the_same(browser, auditor, session, settings):
    settings.CREDIT_USD_VALUE = Decimal("0.02")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {auditor.token}")
    query = {"from": "2026-05-03", "to": "2026-05-06", "tz": "Asia/Kathmandu", "group_by": "model_alias"}
    shown = client.get("/api/v1/admin/usage/summary", query).json()
    totals = shown["totals"]
    overview = rows_of(browser.get(DESK, {**SPAN, "report": "overview", "csv": "time"}))
    assert [row["From"] for row in overview] == ["2026-05-03", "2026-05-04", "2026-05-05", "Total"]
    for row, sums in zip(overview[1:], [*shown["buckets"], totals], strict=True):
        assert [row["Calls"], row["Credits charged"], row["Cost USD"], row["Margin USD"]] == [
            str(sums["call_count"]), sums["credits_charged"], sums["provider_cost_usd"], sums["margin_usd"],
        ]  # fmt: skip
    assert (totals["credits_charged"], totals["margin_usd"]) == ("4.00000000", "0.01400000")
    models = rows_of(browser.get(DESK, {**SPAN, "report": "models", "csv": "model-alias"}))
    assert [(row["Alias"], row["Credits charged"], row["Credits, share"]) for row in models] == [
        ("gpt-4o", "2.00000000", "50.0 %"), ("gpt-4o-mini", "2.00000000", "50.0 %"), ("Total", "4.00000000", "100.0 %"),
    ]  # fmt: skip
    page = browser.get(DESK, {**SPAN, "report": "overview"}).content.decode()
    assert "2026-05-04: 3.00000000 credits" in page
    assert client.get("/api/v1/admin/analytics/active-users", query).json()["active_users"] == 1
    active = rows_of(browser.get(DESK, {**SPAN, "report": "activity", "csv": "active-users"}))
    assert [row["Active users"] for row in active] == ["0", "1", "1", "1"]


def test_users_rooms_and_agents_are_named_and_lead_to_their_pages(browser, alice, session):
    users = browser.get(DESK, {**SPAN, "report": "users"}).content.decode()
    assert f'<a href="/admin/users/user/{alice.id}/change/">{alice.email}</a>' in users
    rooms = rows_of(browser.get(DESK, {**SPAN, "report": "rooms", "csv": "rooms"}))
    assert [(row["Room"], row["Credits charged"]) for row in rooms] == [
        (f"Room ({alice.email})", "3.00000000"), ("direct calls", "1.00000000"), ("Total", "4.00000000"),
    ]  # fmt: skip
    agents = browser.get(DESK, {**SPAN, "report": "agents"}).content.decode()
    assert f"/admin/sessions_app/agent/{Agent.objects.get().id}/change/" in agents


def test_a_cell_that_begins_like_a_formula_is_text(browser, session):
    agents = rows_of(browser.get(DESK, {**SPAN, "report": "agents", "csv": "agents"}))
    assert agents[0]["Agent"].startswith("'=1+1 (")


def test_a_report_can_be_of_one_user_or_alias(browser, alice, session):
    bob = make_person("bob", credits="10")
    charge_at(AT, bob.id, make_call(CREDIT))
    for user in (alice.email, str(alice.id)):
        rows = rows_of(browser.get(DESK, {**SPAN, "user": user, "csv": "time"}))
        assert rows[-1]["Credits charged"] == "4.00000000"
    rows = rows_of(browser.get(DESK, {**SPAN, "alias": "gpt-4o", "csv": "time"}))
    assert rows[-1]["Credits charged"] == "2.00000000"


def test_active_users_are_of_the_user_and_the_alias_that_are_asked_for(browser, alice, session):
    bob = make_person("bob", credits="10")
    charge_at(AT, bob.id, make_call(CREDIT))
    for asked, days in (
        ({}, ["0", "2", "1", "2"]), ({"user": bob.email}, ["0", "1", "0", "1"]),
        ({"alias": "gpt-4o"}, ["0", "1", "0", "1"]), ({"alias": "none"}, ["0", "0", "0", "0"]),
        ({"user": alice.email, "alias": "gpt-4o-mini"}, ["0", "1", "1", "1"]),
    ):  # fmt: skip
        rows = rows_of(browser.get(DESK, {**SPAN, "report": "activity", "csv": "active-users", **asked}))
        assert [row["Active users"] for row in rows] == days, asked


def test_turns_that_ended_badly_are_of_the_user_and_the_alias_that_are_asked_for(browser, alice, session):
    bob = make_person("bob", credits="10")
    for person, session_id, alias in ((alice, session, "gpt-4o"), (bob, make_session(bob, "ann"), "gpt-4o-mini")):
        turn = make_ended_turn(person, session_id, status="failed", finished_at=AT)
        settle(person.id, make_hold(person.id, "0", enforcement="off"), make_call(alias=alias, turn_id=turn.id))
    for asked, failed in (
        ({}, {alice.email, bob.email}), ({"user": bob.email}, {bob.email}), ({"user": str(alice.id)}, {alice.email}),
        ({"alias": "gpt-4o"}, {alice.email}), ({"alias": "none"}, set()),
        ({"user": bob.email, "alias": "gpt-4o"}, set()),
    ):  # fmt: skip
        query = {**SPAN, "report": "turns", **asked}
        assert rows_of(browser.get(DESK, {**query, "csv": "turns"}))[-1]["Failed"] == str(len(failed))
        assert {row["User"] for row in rows_of(browser.get(DESK, {**query, "csv": "newest-turns"}))} == failed
    page = browser.get(DESK, {**SPAN, "report": "turns", "user": bob.email, "alias": "gpt-4o"}).content.decode()
    assert f"Asia/Kathmandu, {bob.email}, gpt-4o. Turns in which gpt-4o was called" in page


def test_a_day_that_a_zone_left_out_is_not_shown_twice(browser, alice):
    charge_at(datetime(2011, 12, 30, 12, tzinfo=UTC), alice.id, make_call(CREDIT))
    span = {"first": "2011-12-28", "last": "2012-01-01", "tz": "Pacific/Apia"}
    rows = rows_of(browser.get(DESK, {**span, "csv": "time"}))
    assert [(row["From"], row["Calls"]) for row in rows] == [
        ("2011-12-28", "0"), ("2011-12-29", "0"), ("2011-12-31", "1"), ("2012-01-01", "0"), ("Total", "1"),
    ]  # fmt: skip
    active = rows_of(browser.get(DESK, {**span, "report": "activity", "csv": "active-users"}))
    assert [row["Active users"] for row in active] == ["0", "0", "1", "0", "1"]


def test_turns_that_ended_badly_are_counted_and_led_to(browser, alice, session):
    for status, hours in (("failed", 0), ("failed", 1), ("interrupted", 24), ("completed", 0), ("cancelled", 0)):
        turn = make_ended_turn(
            alice, session, status=status, finished_at=AT + timedelta(hours=hours), error_code="provider_error"
        )
        charge_at(AT, alice.id, make_call(TokenPools(), status="error"))
        if status == "interrupted":
            interrupted = turn
    rows = rows_of(browser.get(DESK, {**SPAN, "report": "turns", "csv": "turns"}))
    assert [list(row.values()) for row in rows] == [
        ["2026-05-03", "0", "0", "0", "0"], ["2026-05-04", "2", "0", "1", "0"], ["2026-05-05", "0", "1", "0", "0"],
        ["Total", "2", "1", "1", "0"],
    ]  # fmt: skip
    page = browser.get(DESK, {**SPAN, "report": "turns"}).content.decode()
    assert f"/admin/sessions_app/turn/{interrupted.id}/change/" in page


def test_what_warn_let_through_is_shown(browser, alice):
    ShadowRefusal.objects.create(
        user_id=alice.id, reference_type="turn", reference_id=uuid7(), stage="opening", model_alias="gpt-4o",
        balance=0, held=0, available=0, required=Decimal("0.5"), created_at=AT,
    )  # fmt: skip
    bob = make_person("bob", credits="10")
    for asked, is_shown in (
        ({}, True), ({"user": alice.email}, True), ({"alias": "gpt-4o"}, True), ({"user": bob.email}, False),
        ({"alias": "gpt-4o-mini"}, False),
    ):  # fmt: skip
        query = {**SPAN, "report": "exceptions", **asked}
        rows = rows_of(browser.get(DESK, {**query, "csv": "let-through"}))
        found = [alice.email, "1", "0.50000000", "2026-05-04 12:07"]
        assert [list(row.values()) for row in rows] == ([found] if is_shown else []), asked
        figures = {figure.name: figure.value for figure in browser.get(DESK, query).context["shown"].figures}
        assert (figures["Let through by warn"], figures["Would not have begun"]) == (
            ("1", "1") if is_shown else ("0", "0")
        )


def test_everybody_whom_warn_let_through_is_in_the_csv(browser):
    for _ in range(22):
        ShadowRefusal.objects.create(
            user_id=uuid7(), reference_type="turn", reference_id=uuid7(), stage="opening", model_alias="gpt-4o",
            balance=0, held=0, available=0, required=Decimal("0.5"), created_at=AT,
        )  # fmt: skip
    query = {**SPAN, "report": "exceptions"}
    assert len(rows_of(browser.get(DESK, {**query, "csv": "let-through"}))) == 22
    assert browser.get(DESK, query).content.decode().count("0.50000000") == 20


@pytest.mark.breaks_the_ledger
def test_a_call_without_its_debit_leads_to_its_page_be_it_a_models_or_a_tools(browser, alice):
    price_tool("search", "0.5")
    reference = make_hold(alice.id, "0", enforcement="off")
    call, tool = make_call(turn_id=reference.id), make_tool(turn_id=reference.id)
    settle(alice.id, reference, call, tool)
    for event in (call, tool):
        damage("DELETE FROM credit_transactions WHERE event_id = %(id)s", id=event.event_id)
    today = timezone.now().date()
    page = browser.get(DESK, {"first": today, "last": today, "report": "exceptions"}).content.decode()
    for event, name in ((call, "llmcallevent"), (tool, "toolcallevent")):
        assert f'<a href="/admin/billing/{name}/{event.event_id}/change/">' in page
    boss = browser_of(make_person("boss", is_staff=True, is_superuser=True))
    for link in re.findall(r'href="(/admin/billing/[a-z]+callevent/[^"]+)"', page):
        assert boss.get(link).status_code == 200, link


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tz": "Mars/Olympus"}, "An IANA time zone"),
        ({"first": "NaN"}, "Enter a valid date."),
        ({"first": "2026-05-06"}, "Must not lie after the last day."),
        ({"first": "0001-01-01", "tz": "Asia/Kathmandu", "last": "0001-01-02"}, "Out of range."),
        ({"last": "9999-12-31"}, "Out of range."),
        ({"first": "1900-01-01", "bucket": "hour"}, "More than 10000 rows"),
        ({"user": "nobody@example.com"}, "There is no such user."),
        ({"user": "7"}, "There is no such user."),
    ],
)
def test_a_form_that_is_wrong_is_shown_with_what_is_wrong(browser, wrong, says):
    page = browser.get(DESK, {**SPAN, **wrong})
    assert page.status_code == 422
    text = page.content.decode()
    assert says in text
    assert all(f'value="{value}"' in text for name, value in wrong.items() if name != "bucket")


def test_what_is_not_there_is_not_found(browser):
    assert browser.get(DESK, {"report": "nothing"}).status_code == 404
    assert browser.get(DESK, {**SPAN, "csv": "nothing"}).status_code == 404


def test_only_who_may_see_events_sees_the_desk(auditor):
    clerk = make_person("clerk", is_staff=True)
    User.objects.get(pk=clerk.id).user_permissions.add(Permission.objects.get(codename="view_creditwallet"))
    client = browser_of(clerk)
    assert client.get(DESK).status_code == 403
    assert f'href="{DESK}"' not in client.get("/admin/").content.decode()
    assert Client().get(DESK).status_code == 302

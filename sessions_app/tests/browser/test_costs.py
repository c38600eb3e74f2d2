"""The cost desk over ninety days: its numbers are those of the events, whatever the zone, on every screen."""

from __future__ import annotations

import csv
import io
from datetime import datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Sum
from django.utils import timezone

from billing.models import LLMCallEvent
from sessions_app.tests.browser.ninety_days import make_ninety_days

pytestmark = pytest.mark.usefixtures("committed")
DESK = "/admin/billing/usagetotal/"
REPORTS = ("overview", "models", "users", "rooms", "activity", "exceptions")


@pytest.fixture(scope="module")
def _ninety_days(committed):
    make_ninety_days()


def span(**more):
    today = timezone.now().date()
    asked = {"first": str(today - timedelta(days=89)), "last": str(today), **more}
    return DESK + "?" + "&".join(f"{name}={value}" for name, value in asked.items())


@pytest.mark.usefixtures("_ninety_days")
@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu", "America/Los_Angeles"])
def test_the_days_of_the_desk_add_up_to_the_events(desk, tz):
    desk.go(span(tz=tz, bucket="day"))
    with desk.page.expect_download() as download:
        desk.page.get_by_role("link", name="as CSV").first.click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    [charged] = [name for name in rows[0] if "charged" in name.lower() or "credits" in name.lower()][:1]
    *days, total = rows
    zone, today = ZoneInfo(tz), timezone.now().date()
    start, end = (
        datetime.combine(day, time(), zone) for day in (today - timedelta(days=89), today + timedelta(days=1))
    )
    within = LLMCallEvent.objects.filter(created_at__gte=start, created_at__lt=end)
    events = within.aggregate(Sum("credits_charged"))["credits_charged__sum"]
    assert sum(Decimal(row[charged]) for row in days) == Decimal(total[charged]) == events


@pytest.mark.usefixtures("_ninety_days")
def test_each_report_is_sound_for_everybody(desk):
    desk.go(span())
    tabs = desk.page.get_by_role("navigation", name="Reports").get_by_role("link")
    links = [(tab.inner_text(), tab.get_attribute("href")) for tab in tabs.all()]
    assert len(links) >= 4
    for title, href in links:
        desk.look(DESK + href if href.startswith("?") else href, f"costs-{title.lower().replace(' ', '-')}")


@pytest.mark.usefixtures("_ninety_days")
def test_what_is_asked_wrongly_is_told_beside_its_field(desk):
    for wrong in ({"tz": "Mars/Olympus"}, {"first": "2026-13-99"}, {"user": "nobody@example.com"}):
        desk.page.goto(desk.url + span(**wrong))
        assert desk.page.locator(".errorlist").first.inner_text().strip()

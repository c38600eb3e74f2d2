"""Prices are edited, planned, tried, brought into force and taken back by hand; the next turn pays them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from pricing.models import PricingVersion
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = pytest.mark.usefixtures("committed")
# 100 OE tokens.
USAGE = {"prompt_tokens": 100, "completion_tokens": 65}


@pytest.fixture
def pay(web, script):
    """Credits that a turn of 100 OE tokens on gpt-4o costs now."""
    script.reply = Reply(usage=USAGE)
    alice = make_person("alice", credits="10")

    def pay():
        with web.client(alice.token) as client:
            session = make_session(alice, "ann")
            answer = client.post(f"/sessions/{session}/turns", json={"message": "Hi"})
            assert answer.status_code == 201, answer.text
            return Decimal(answer.json()["usage"]["credits_burned"])

    return pay


def in_force():
    """Another one, where a test before this one has rolled back."""
    return PricingVersion.objects.get(status="active").version


def page_of(name, part="change"):
    return f"/admin/pricing/pricingversion/{PricingVersion.objects.get(version=name).pk}/{part}/"


def row_of(desk, alias):
    return desk.page.locator(
        "tr.form-row", has=desk.page.locator(f'input[value="{alias}"], p:text-is("{alias}")')
    ).first


def set_multiplier(desk, alias, multiplier):
    row_of(desk, alias).locator('input[name$="-multiplier"]').fill(multiplier)


def test_a_multiplier_that_is_edited_is_what_the_next_turn_pays(desk, pay):
    name = in_force()
    assert pay() == Decimal("0.0200")
    desk.go(page_of(name))
    set_multiplier(desk, "gpt-4o", "3")
    desk.press("Save")
    assert "was changed successfully" in desk.message
    assert pay() == Decimal("0.0300")
    desk.go(page_of(name))
    assert "multiplier: 2.0000 → 3.0000" in desk.page.locator("#content").inner_text()
    set_multiplier(desk, "gpt-4o", "2")
    desk.press("Save")


@pytest.mark.parametrize("wrong", ["-1", "NaN", "1e400", "0." + "1" * 40, ""])
def test_a_wrong_multiplier_is_refused_beside_its_field_and_changes_nothing(desk, pay, wrong):
    name = in_force()
    before = PricingVersion.objects.get(version=name).revision
    desk.go(page_of(name))
    # Django's number fields let the browser refuse; what a person can still send is refused by us.
    desk.page.evaluate("document.querySelectorAll('form').forEach(form => { form.noValidate = true })")
    field = row_of(desk, "gpt-4o").locator('input[name$="-multiplier"]')
    field.evaluate("(input, value) => { input.type = 'text'; input.value = value }", wrong)
    desk.press("Save")
    assert desk.page.locator(".errorlist").first.inner_text().strip()
    assert PricingVersion.objects.get(version=name).revision == before
    assert pay() == Decimal("0.0200")


def test_a_draft_is_tried_planned_brought_into_force_and_taken_back(desk, pay):
    name = in_force()
    assert pay() == Decimal("0.0200")
    desk.go(page_of(name))
    desk.press("Clone a draft")
    desk.page.get_by_label("Name").fill("summer")
    desk.page.get_by_label("Note").fill("Dearer in summer.")
    desk.page.locator("#content form [type=submit]").click()
    assert f"Summer is a draft, cloned from {name}." in desk.message
    set_multiplier(desk, "gpt-4o", "4")
    desk.press("Save")
    desk.look(page_of("summer"), "price-version")

    desk.go(page_of("summer", "review"))
    desk.press("Simulate")
    desk.look(page_of("summer", "review") + "?days=30", "price-review")
    shown = desk.page.locator("#content").inner_text()
    assert "100.00" in shown
    assert pay() == Decimal("0.0200")

    tomorrow = timezone.now() + timedelta(days=1)
    desk.go(page_of("summer", "review"))
    desk.page.locator('input[name="effective_at_0"]').fill(f"{tomorrow:%Y-%m-%d}")
    desk.page.locator('input[name="effective_at_1"]').fill("08:00:00")
    desk.press("Schedule it")
    assert desk.message == f"Summer comes into force on {tomorrow:%Y-%m-%d} at 08:00 UTC."
    assert pay() == Decimal("0.0200")

    desk.go(page_of("summer", "review"))
    desk.press("Yes, activate summer now")
    assert desk.message == "Summer is in force."
    assert pay() == Decimal("0.0400")

    desk.go(page_of("summer"))
    desk.press(f"Roll back to {name}")
    desk.press(f"Yes, roll back to {name}")
    assert desk.message.endswith(f"is in force, with the prices of {name}.")
    assert pay() == Decimal("0.0200")
    assert PricingVersion.objects.get(version="summer").status == "retired"


def test_the_list_of_versions_is_sound(desk):
    desk.look("/admin/", "admin-index")
    desk.look("/admin/pricing/pricingversion/", "price-versions")

"""A version's life in the Django admin: cloned, looked at, scheduled, activated, rolled back; each once, and logged."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.utils import timezone

from billing.models import PriceSimulation
from billing.simulating import runs
from billing.tests.makers import charge, make_wallet
from pricing import cache, lifecycle, services, serving
from pricing.models import PricingVersion
from pricing.rating import TokenPools
from pricing.tests.admin_pages import VERSIONS, browser_of, form_of, make_editor, page_of
from pricing.tests.makers import (
    SEED,
    SEED_REVISION,
    make_next,
    make_scheduled,
    make_staff,
    price_tool,
    seeded,
    statuses,
    stored,
)
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db
UNKNOWN_ID = "01900000-0000-7000-8000-000000000000"


@pytest.fixture
def staff():
    user = make_editor()
    user.user_permissions.add(Permission.objects.get(codename="view_llmcallevent"))
    return user


@pytest.fixture
def browser(staff):
    return browser_of(staff)


def review(version: PricingVersion | str) -> str:
    found = PricingVersion.objects.get(version=version) if isinstance(version, str) else version
    return f"{VERSIONS}{found.pk}/review/"


def simulate(version: str) -> str:
    return f"/admin/billing/pricesimulation/{PricingVersion.objects.get(version=version).pk}/run/"


def fields_of(browser, url: str) -> dict[str, str]:
    """What a browser would post if a button of the page were pressed, but for the button."""
    form = browser.get(url).context["form"]
    found = {field.html_name: str(field.value()) for field in form.hidden_fields()}
    moment = form["effective_at"].value()
    if moment is not None:
        local = timezone.localtime(moment)
        found |= {"effective_at_0": f"{local:%Y-%m-%d}", "effective_at_1": f"{local:%H:%M:%S}"}
    return {**found, "note": ""}


def press(browser, url: str, button: str, **fields: str):
    return browser.post(url, {**fields_of(browser, url), "act": button, **fields})


def tomorrow() -> dict[str, str]:
    moment = timezone.now() + timedelta(days=1)
    return {"effective_at_0": f"{moment:%Y-%m-%d}", "effective_at_1": "12:30:00"}


def said(answer) -> str:
    assert answer.status_code == 422
    return " ".join(str(error) for errors in answer.context["form"].errors.values() for error in errors)


def test_a_draft_is_cloned_reviewed_scheduled_and_taken_back(browser, staff):
    answer = browser.post(f"{VERSIONS}{seeded().pk}/clone/", {"version": "next", "note": "summer prices"})
    assert answer.status_code == 302
    draft = PricingVersion.objects.get(version="next")
    assert answer["Location"] == page_of(draft)
    assert (draft.status, draft.note, draft.models.count()) == ("draft", "summer prices", 7)
    assert press(browser, review(draft), "schedule", **tomorrow()).status_code == 302
    draft.refresh_from_db()
    assert (draft.status, draft.effective_at.strftime("%H:%M")) == ("scheduled", "12:30")
    assert press(browser, review(draft), "unschedule").status_code == 302
    assert statuses() == {SEED: "active", "next": "draft"}
    entries = LogEntry.objects.order_by("id")
    assert [entry.get_change_message().split(".")[0][:24] for entry in entries] == [
        "next is a draft, cloned ", "next comes into force on", "next is a draft again",
    ]  # fmt: skip
    assert {(entry.user, entry.object_id) for entry in entries} == {(staff, str(draft.pk))}


def test_the_review_shows_what_changes_what_it_costs_and_what_it_would_have_cost(browser):
    alice = make_user("alice@example.com")
    make_wallet("10", user_id=alice.pk)
    charge(alice.pk, TokenPools(output=10_000), alias="gpt-4o")
    make_next(weight_output=Decimal("1.5"))
    services.remove_model(pricing_version="next", model_alias="deepseek", actor="t")
    services.put_model(
        pricing_version="next", model_alias="gpt-5", actor="t",
        fields={"multiplier": Decimal("2.5"), "provider_model": "gpt-5", "context_tokens": 1000},
    )  # fmt: skip
    assert "2.50000000 125.00" not in browser.get(review("next")).content.decode()
    asked = browser.post(simulate("next"), {"days": "30"})
    assert (asked.status_code, asked["Location"]) == (302, f"{review('next')}?days=30#simulation")
    page = " ".join(re.sub(r"<[^>]*>", " ", browser.get(review("next")).content.decode()).split())
    assert "gpt-4o multiplier 2.0000 3.0000 50.00" in page
    assert "whole version output 1.0000 1.5000 50.00" in page
    assert "deepseek removed: turns that ask for it are refused" in page
    assert "gpt-5 (new) multiplier – 2.5000" in page
    # (0.35 x 400 + 250) x 2 / 10000, and (0.35 x 400 + 1.5 x 250) x 3 / 10000
    assert "gpt-4o 0.07800000 0.15450000 98.08" in page
    # 2 credits as billed, 1.5 x 3 under the version.
    assert "gpt-4o 1 2.00000000 4.50000000 2.50000000 125.00" in page
    assert "alice@example.com 1 2.00000000 4.50000000 2.50000000 125.00" in page
    assert "Yes, activate next now" in page


def test_the_days_of_the_simulation_are_chosen(browser):
    make_next()
    browser.post(simulate("next"), {"days": "7"})
    assert "Nobody called anything" in browser.get(f"{review('next')}?days=7").content.decode()
    assert "Nobody called anything" not in browser.get(f"{review('next')}?days=30").content.decode()
    for days in ("0", "-1", "367", "100000", "x", "NaN", "1e2", "", "9" * 500, "\x00"):
        answer = browser.post(simulate("next"), {"days": days})
        assert answer.status_code == 302
        page = browser.get(answer["Location"])
        assert page.status_code == 200
        assert "errorlist" in page.content.decode()
    assert PriceSimulation.objects.count() == 1


def test_the_review_says_how_far_a_simulation_is_and_of_which_prices(browser, monkeypatch):
    monkeypatch.setattr(runs, "FEW_CALLS", -1)
    make_next()
    browser.post(simulate("next"), {"days": "30"})

    def shown():
        return " ".join(re.sub(r"<[^>]*>", " ", browser.get(review("next")).content.decode()).split())

    assert "waits for a worker. Without one: manage.py simulate_pricing next --days 30" in shown()
    PriceSimulation.objects.update(
        status="running", started_at=timezone.now(), seen_at=timezone.now(), calls=90, calls_read=30
    )
    assert "30 of 90 calls" in shown()
    PriceSimulation.objects.update(status="failed", attempts=3)
    assert "failed 3 times" in shown()
    browser.post(simulate("next"), {"days": "30"})
    assert runs.run_waiting() == 1
    assert "Nobody called anything" in shown()
    lifecycle.schedule(pricing_version="next", effective_at=timezone.now() + timedelta(days=1), actor="t")
    assert "prices have changed since" not in shown()
    lifecycle.unschedule(pricing_version="next", actor="t")
    services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(5), actor="t", pricing_version="next")
    assert "prices have changed since: the version is at revision 12 by now" in shown()


def test_only_staff_who_may_see_prices_and_events_simulate(browser):
    make_next()
    for user, status in (
        (make_staff("view_pricingversion", email="bob@example.com"), 403),
        (make_staff(email="carol@example.com"), 403),
        (make_user("alice@example.com"), 302),
    ):
        assert browser_of(user).post(simulate("next"), {"days": "30"}).status_code == status
    assert PriceSimulation.objects.count() == 0
    assert browser.get(simulate("next")).status_code == 405
    unknown = simulate("next").replace(str(PricingVersion.objects.get(version="next").pk), UNKNOWN_ID)
    assert browser.post(unknown, {"days": "30"}).status_code == 404


def test_a_version_is_activated_from_its_review(browser, staff):
    make_next()
    answer = press(browser, review("next"), "activate")
    assert answer.status_code == 302
    assert statuses() == {SEED: "retired", "next": "active"}
    assert "next is in force." in LogEntry.objects.get().get_change_message()
    assert cache.latest().pricing_version == "next"


def test_one_click_rolls_back(browser):
    make_next()
    lifecycle.activate(pricing_version="next", actor="t")
    page = browser.get(page_of(PricingVersion.objects.get(version="next"))).content.decode()
    assert f"{review(SEED)}?days=30" in page
    answer = press(browser, review(SEED), "rollback", note="too dear")
    assert answer.status_code == 302
    made = PricingVersion.objects.get(status="active")
    assert (made.version, made.note, answer["Location"]) == (f"{SEED}-rollback-1", "too dear", page_of(made))
    assert LogEntry.objects.get().object_id == str(made.pk)


def test_what_somebody_else_did_meanwhile_refuses_the_button_and_keeps_what_was_typed(browser):
    make_next()
    make_next("other")
    typed = fields_of(browser, review("next"))
    services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(9), actor="bob", pricing_version="next")
    before = stored()
    for act in ("schedule", "activate"):
        answer = browser.post(review("next"), {**typed, "act": act, **tomorrow()})
        assert "is at revision 10 by now, not at 9" in said(answer)
        assert tomorrow()["effective_at_0"] in answer.content.decode()
    assert stored() == before
    typed = fields_of(browser, review("next"))
    services.set_multiplier(model_alias="deepseek", multiplier=Decimal(1), actor="bob")
    before = stored()
    refused = browser.post(review("next"), {**typed, "act": "activate"})
    assert f"{SEED} is at revision {SEED_REVISION + 1} by now, not at {SEED_REVISION}" in said(refused)
    assert stored() == before
    typed = fields_of(browser, review("next"))
    lifecycle.activate(pricing_version="other", actor="bob")
    before = stored()
    assert "other is active by now" in said(browser.post(review("next"), {**typed, "act": "activate"}))
    assert stored() == before
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"effective_at_0": "", "effective_at_1": ""}, "Say when it comes into force."),
        ({"effective_at_0": "2020-01-01", "effective_at_1": "00:00"}, "Must lie in the future"),
        ({"effective_at_0": "someday", "effective_at_1": "00:00"}, "valid date"),
        ({"act": "explode"}, "not one of the available choices"),
        ({"seen_revision": "x"}, "whole number"),
        ({"seen_revision": ""}, "required"),
    ],
)
def test_a_bad_button_is_an_error_on_the_page(browser, fields, error):
    make_next()
    before = stored()
    assert error in said(press(browser, review("next"), "schedule", **{**tomorrow(), **fields}))
    assert stored() == before


@pytest.mark.parametrize("name", [SEED, "", "a b", "a" * 65])
def test_a_bad_name_of_a_clone_is_an_error_on_the_page(browser, name):
    before = stored()
    answer = browser.post(f"{VERSIONS}{seeded().pk}/clone/", {"version": name, "note": "kept"})
    assert said(answer)
    assert "kept" in answer.content.decode()
    assert stored() == before


def test_states_offer_what_follows_from_them(browser):
    scheduled = make_scheduled()
    assert browser.get(review(scheduled)).context["acts"] == ("schedule", "unschedule", "activate")
    assert browser.get(review(SEED)).context["acts"] == ()
    assert "was in force and is no more" in said(press(browser, review(SEED), "rollback"))
    lifecycle.activate(pricing_version="next", actor="t")
    assert browser.get(review(SEED)).context["acts"] == ("rollback",)
    before = stored()
    assert "only a draft can be scheduled" in said(press(browser, review(SEED), "schedule", **tomorrow()))
    assert stored() == before


def test_only_staff_with_the_right_permission(browser):
    draft = make_next()
    before = stored()
    bob = browser_of(make_staff("view_pricingversion", email="bob@example.com"))
    page = bob.get(review(draft))
    assert page.status_code == 200
    assert "Your account may not see what users were charged." in page.content.decode()
    assert 'name="act"' not in page.content.decode()
    assert bob.post(review(draft), {"act": "activate", "seen_revision": "9", "replaces": SEED}).status_code == 403
    assert bob.get(f"{VERSIONS}{draft.pk}/clone/").status_code == 403
    carol = browser_of(make_staff("view_modelpricing", email="carol@example.com"))
    assert carol.get(review(draft)).status_code == 403
    alice = browser_of(make_user("alice@example.com"))
    assert alice.get(review(draft)).status_code == 302
    assert stored() == before


def test_the_page_of_a_version_shows_its_history(browser, staff):
    services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(3), actor=str(staff.pk))
    page = browser.get(page_of(seeded())).content.decode()
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert f"{SEED_REVISION + 1}" in text
    assert f"{staff.email} changed gpt-4o multiplier: 2.0000 → 3.0000" in text
    assert "migration created" in text
    price_tool("search", "0.01")
    price_tool("search", "0.02")
    text = " ".join(re.sub(r"<[^>]*>", " ", browser.get(page_of(seeded())).content.decode()).split())
    assert "test changed tool search credits_per_call: 0.01000000 → 0.02000000" in text


def test_the_page_of_a_version_shows_what_each_process_serves(browser):
    serving.report(cache.latest())
    page = browser.get(page_of(seeded())).content.decode()
    assert "as in force" in page
    assert ">behind<" not in page
    make_next()
    lifecycle.activate(pricing_version="next", actor="t")
    page = browser.get(page_of(seeded())).content.decode()
    assert ">behind<" in page
    serving.leave()
    assert "None has reported." in browser.get(page_of(seeded())).content.decode()


def test_a_draft_is_not_planned_for_the_past(browser):
    url = page_of(make_next())
    form = {**form_of(browser, url), "effective_at_0": "2020-01-01", "effective_at_1": "00:00"}
    before = stored()
    answer = browser.post(url, form)
    assert "Must lie in the future." in answer.content.decode()
    assert stored() == before


def test_what_does_not_exist_is_not_found(browser):
    for name in ("review", "clone"):
        assert browser.get(f"{VERSIONS}{UNKNOWN_ID}/{name}/").status_code == 404

"""Versions and history in the Django admin: drafts are made, the rest is shown, nothing is deleted."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from django.test import Client

from pricing.models import PricingRevision, PricingVersion
from pricing.tests.admin_pages import (
    VERSIONS,
    browser_of,
    errors_of,
    form_of,
    make_editor,
    new_rows,
    page_of,
    row_of,
    said,
)
from pricing.tests.makers import (
    SEED,
    SEED_REVISION,
    add_price,
    make_draft,
    make_staff,
    price,
    retire,
    seeded,
    set_by_sql,
    stored,
)
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff():
    return make_editor()


@pytest.fixture
def browser(staff):
    return browser_of(staff)


def test_a_draft_is_made_and_weighed(browser, staff):
    url = f"{VERSIONS}add/"
    form = form_of(browser, url)
    form |= {"version": "2027-01-01", "weight_output": "1.25", "note": "dearer output"}
    assert browser.post(url, new_rows(form, "gpt-5")).status_code == 302
    draft = PricingVersion.objects.get(version="2027-01-01")
    assert (draft.status, draft.weight_output, draft.revision) == ("draft", Decimal("1.25"), 2)
    assert set(PricingRevision.objects.filter(pricing_version="2027-01-01").values_list("actor", flat=True)) == {
        str(staff.pk)
    }
    form = form_of(browser, page_of(draft))
    form["divisor"] = "5000"
    assert browser.post(page_of(draft), form).status_code == 302
    draft.refresh_from_db()
    assert (draft.divisor, draft.revision) == (5000, 3)
    assert said() == [
        "2027-01-01 is a draft. Multiplier of gpt-5: new → 1.0000.",
        "Divisor: 10000.0000 → 5000.0000.",
    ]


def test_a_version_that_is_not_made_yet_has_no_state_to_show(browser):
    form = browser.get(f"{VERSIONS}add/").context["adminform"]
    assert [fieldset.fields for fieldset in form][:2] == [
        ("version", "note", "seen_revision"),
        ("effective_at",),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"version": SEED},
        {"version": "a/b"},
        {"version": ""},
        {"version": "a" * 65},
        {"weight_output": "-1"},
        {"weight_output": "NaN"},
        {"weight_input_cached": "0.00001"},
        {"divisor": "0"},
        {"divisor": "-1"},
        {"divisor": "NaN"},
        {"effective_at_0": "someday"},
    ],
)
def test_a_bad_draft_is_an_error_on_the_page(browser, bad):
    url, before = f"{VERSIONS}add/", stored()
    form = {**form_of(browser, url), "version": "v2", **bad}
    assert errors_of(browser.post(url, form))
    assert stored() == before


@pytest.mark.parametrize("status", ["scheduled", "retired"])
def test_scheduled_and_retired_versions_are_shown_only(browser, status):
    draft = make_draft()
    row = add_price(draft)
    if status == "retired":
        retire(draft)
    else:
        draft.status = "scheduled"
        draft.save()
    answer = browser.get(page_of(draft))
    assert answer.status_code == 200
    assert not re.findall(rb'<input[^>]+name="models-0-multiplier"', answer.content)
    before = stored()
    form = {
        "models-TOTAL_FORMS": "1",
        "models-INITIAL_FORMS": "1",
        "models-0-id": str(row.pk),
        "models-0-multiplier": "9",
        "seen_revision": str(draft.revision),
    }
    assert browser.post(page_of(draft), form).status_code == 403
    assert stored() == before


def test_nothing_is_deleted_in_bulk_or_alone(browser):
    answer = browser.get(VERSIONS)
    assert answer.status_code == 200
    assert b"delete_selected" not in answer.content
    before = stored()
    assert browser.post(f"{VERSIONS}{seeded().pk}/delete/", {"post": "yes"}).status_code == 403
    browser.post(VERSIONS, {"action": "delete_selected", "_selected_action": [str(seeded().pk)], "post": "yes"})
    assert stored() == before


def test_revisions_are_shown_and_not_written(browser, staff):
    url = page_of(seeded())
    form = form_of(browser, url)
    form[row_of(form, "gpt-4o") + "multiplier"] = "2.5"
    browser.post(url, form)
    listed = browser.get("/admin/pricing/pricingrevision/")
    assert listed.status_code == 200
    text = listed.content.decode()
    assert "multiplier: 2.0000 → 2.5000" in text
    # Of what was made, all is new.
    assert "provider: – → default" not in text
    assert str(staff.pk) in text
    row = PricingRevision.objects.get(revision=SEED_REVISION + 1)
    shown = f"/admin/pricing/pricingrevision/{row.pk}/change/"
    assert b"2.5000" in browser.get(shown).content
    made = PricingRevision.objects.filter(action="created", model_alias="gpt-4o").get()
    page = browser.get(f"/admin/pricing/pricingrevision/{made.pk}/change/").content.decode()
    assert "provider: – → default" in page
    before = stored()
    assert browser.post(shown, {"actor": "nobody"}).status_code == 403
    assert browser.get("/admin/pricing/pricingrevision/add/").status_code == 403
    assert browser.post(f"/admin/pricing/pricingrevision/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert stored() == before


def test_text_from_outside_is_escaped_in_the_history(browser):
    set_by_sql("gpt-4o", "2.5")
    row = price()
    row.provider_model = "<script>alert(1)</script>"
    row.save()
    assert "<script>alert(1)" not in browser.get("/admin/pricing/pricingrevision/").content.decode()


def test_staff_without_the_permission_and_users_stay_out():
    before = stored()
    looker = Client()
    looker.force_login(make_staff("view_pricingversion", "view_modelpricing", email="looker@example.com"))
    assert looker.get(page_of(seeded())).status_code == 200
    assert looker.post(page_of(seeded()), {"seen_revision": SEED_REVISION}).status_code == 403
    alice = Client()
    alice.force_login(make_user())
    for browser in (alice, Client()):
        assert browser.get(page_of(seeded())).status_code == 302
        assert browser.post(page_of(seeded()), {}).status_code == 302
    assert stored() == before

"""Prices in the Django admin, as staff edits them: over HTTP, with the forms as the pages show them."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction

from pricing import cache
from pricing.models import ModelPricing, PricingRevision, PricingVersion, ToolPricing
from pricing.tests.admin_pages import browser_of, errors_of, form_of, make_editor, new_rows, page_of, row_of, said
from pricing.tests.makers import (
    SEED,
    SEED_REVISION,
    make_next,
    price,
    seeded,
    set_by_sql,
    stored,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff():
    return make_editor()


@pytest.fixture
def browser(staff):
    return browser_of(staff)


def test_a_multiplier_of_the_active_version_is_edited_and_recorded(browser, staff):
    url = page_of(seeded())
    form = form_of(browser, url)
    form[row_of(form, "gpt-4o") + "multiplier"] = "2.5"
    assert browser.post(url, form).status_code == 302
    assert price().multiplier == Decimal("2.5")
    assert seeded().revision == SEED_REVISION + 1
    recorded = PricingRevision.objects.get(pricing_version=SEED, revision=SEED_REVISION + 1)
    assert recorded.actor == str(staff.pk)
    assert recorded.changes == {"multiplier": {"old": "2.0000", "new": "2.5000"}}
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(seeded().pk))
    assert entry.get_change_message() == "Multiplier of gpt-4o: 2.0000 → 2.5000."


def test_a_tools_price_is_made_changed_and_taken_away_on_its_versions_page(browser, staff):
    url = page_of(seeded())
    form = form_of(browser, url)
    assert form["tools-TOTAL_FORMS"] == "0"
    new = {"tools-TOTAL_FORMS": "1", "tools-0-tool_name": "search", "tools-0-credits_per_call": "0.01"}
    assert browser.post(url, form | new).status_code == 302
    recorded = PricingRevision.objects.get(pricing_version=SEED, revision=SEED_REVISION + 1)
    assert (recorded.tool_name, recorded.actor) == ("search", str(staff.pk))
    assert recorded.snapshot["tools"] == {"search": "0.01000000"}
    form = form_of(browser, url)
    assert "tools-0-tool_name" not in form
    assert browser.post(url, form | {"tools-0-credits_per_call": "0.02"}).status_code == 302
    assert ToolPricing.objects.get().credits_per_call == Decimal("0.02")
    before = stored()
    for wrong in ("-1", "1e3", "0.000000001", "1000000.00000001", "NaN"):
        assert errors_of(browser.post(url, form_of(browser, url) | {"tools-0-credits_per_call": wrong}))
    assert stored() == before
    assert browser.post(url, form_of(browser, url) | {"tools-0-DELETE": "on"}).status_code == 302
    assert ToolPricing.objects.count() == 0
    assert said() == [
        "Tool search: free → 0.01000000 a call.",
        "Tool search: 0.01000000 → 0.02000000 a call.",
        "Tool search: 0.02000000 → free.",
    ]
    history = browser.get("/admin/pricing/pricingrevision/").content.decode()
    assert "credits_per_call: 0.01000000 → 0.02000000" in history


def test_djangos_log_says_old_and_new_of_each_value_that_one_save_has_changed(browser):
    url = page_of(make_next(multiplier="2"))
    form = new_rows(form_of(browser, url), "gpt-5")
    gpt, deepseek = row_of(form, "gpt-4o", "next"), row_of(form, "deepseek", "next")
    form |= {gpt + "multiplier": "2.5", gpt + "fallback_alias": "gpt-4o-mini", gpt + "provider_input_usd_per_mtok": ""}
    form |= {deepseek + "DELETE": "on", "note": "Dearer."}
    assert browser.post(url, form).status_code == 302
    assert said()[-1:] == [
        "Note: – → Dearer. "
        "Took deepseek out. "
        "Multiplier of gpt-4o: 2.0000 → 2.5000. "
        "Fallback alias of gpt-4o: – → gpt-4o-mini. "
        "Provider input usd per mtok of gpt-4o: 2.50000000 → –. "
        "Multiplier of gpt-5: new → 1.0000."
    ]


@pytest.mark.django_db(transaction=True)
def test_while_another_editor_saves_the_page_says_so(browser, settings):
    settings.DATABASE_LOCK_TIMEOUT_MS = 200
    url = page_of(seeded())
    form, before = form_of(browser, url), stored()
    locked, go_on = threading.Event(), threading.Event()

    def other() -> None:
        with transaction.atomic():
            PricingVersion.objects.select_for_update().get(version=SEED)
            locked.set()
            go_on.wait(10)
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert locked.wait(10)
    answer = browser.post(url, {**form, row_of(form, "gpt-4o") + "multiplier": "2.5"})
    go_on.set()
    thread.join()
    assert "right now" in errors_of(answer)
    assert stored() == before


@pytest.mark.django_db(transaction=True)
def test_an_edit_in_the_admin_is_served_at_once(browser, settings):
    settings.PRICING_REFRESH_S = 60
    cache.reload_pricing_cache()
    url = page_of(seeded())
    form = form_of(browser, url)
    form[row_of(form, "gpt-4o") + "multiplier"] = "2.5"
    assert browser.post(url, form).status_code == 302
    assert cache.get_model_multiplier("gpt-4o") == Decimal("2.5")


def test_submitting_a_page_as_it_is_changes_nothing(browser):
    url, before = page_of(seeded()), stored()
    assert browser.post(url, form_of(browser, url)).status_code == 302
    assert stored() == before
    assert said() == []


def test_an_old_page_does_not_write_old_prices_back(browser):
    url = page_of(seeded())
    form = form_of(browser, url)
    set_by_sql("gpt-4o", "3")
    form[row_of(form, "deepseek") + "multiplier"] = "0.6"
    before = stored()
    assert "Somebody else has changed prices" in errors_of(browser.post(url, form))
    assert stored() == before
    assert said() == []


def test_a_page_without_its_revision_is_refused(browser):
    url = page_of(seeded())
    form = form_of(browser, url)
    form[row_of(form, "gpt-4o") + "multiplier"] = "2.5"
    before = stored()
    for seen in ("", "x", "0"):
        form["seen_revision"] = seen
        assert errors_of(browser.post(url, form))
    assert stored() == before


BAD = [
    "-1",
    "-0.0001",
    "NaN",
    "sNaN",
    "Infinity",
    "1e400",
    "1." + "1" * 40,
    "1.00001",
    "100000000",
    "",
    "x",
    "1e-5",
    "\x00",
]


@pytest.mark.parametrize("multiplier", BAD)
def test_a_bad_multiplier_is_an_error_on_the_page(browser, multiplier):
    url = page_of(seeded())
    form = form_of(browser, url)
    form[row_of(form, "gpt-4o") + "multiplier"] = multiplier
    before = stored()
    assert errors_of(browser.post(url, form))
    assert stored() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("context_tokens", value) for value in ("0", "-1", str(2**31), "1.5", "")),
        *(("provider_input_usd_per_mtok", value) for value in ("-1", "NaN", "0.000000001", "1" + "0" * 12)),
        *(("fallback_alias", value) for value in ("unknown", "gpt-4o", "a b")),
        *((name, value) for name in ("provider", "provider_model") for value in ("", "a" * 256)),
    ],
)
def test_a_bad_field_is_an_error_on_the_page(browser, field, value):
    url = page_of(seeded())
    form = form_of(browser, url)
    form[row_of(form, "gpt-4o") + field] = value
    before = stored()
    assert errors_of(browser.post(url, form))
    assert stored() == before


def test_an_alias_is_added_and_removed_from_a_draft(browser):
    draft = make_next()
    url = page_of(draft)
    added = new_rows(form_of(browser, url), "gpt-5", fallback_alias="gpt-4o")
    assert browser.post(url, added).status_code == 302
    assert price("gpt-5", "next").fallback_alias == "gpt-4o"
    form = form_of(browser, url)
    form[row_of(form, "gpt-5", "next") + "DELETE"] = "on"
    assert browser.post(url, form).status_code == 302
    assert not ModelPricing.objects.filter(model_alias="gpt-5").exists()
    last = PricingRevision.objects.get(pricing_version="next", revision=draft.revision + 2)
    assert (last.action, last.model_alias) == ("removed", "gpt-5")


def test_an_alias_is_added_to_the_active_version_and_never_taken_from_it(browser):
    url = page_of(seeded())
    assert browser.post(url, new_rows(form_of(browser, url), "gpt-5")).status_code == 302
    assert price("gpt-5").multiplier == 1
    form, before = form_of(browser, url), stored()
    assert not [name for name in form if name.startswith("models-") and name.endswith("-DELETE")]
    form[row_of(form, "gpt-5") + "DELETE"] = "on"
    assert browser.post(url, form).status_code == 302
    assert stored() == before


@pytest.mark.parametrize(
    "aliases", [("gpt-4o",), ("gpt-5", "gpt-5"), ("a b",), ("",), ("-a",), ("a" * 65,), ("a\x00",)]
)
def test_a_duplicate_or_malformed_alias_is_an_error_on_the_page(browser, aliases):
    url, before = page_of(seeded()), stored()
    assert errors_of(browser.post(url, new_rows(form_of(browser, url), *aliases)))
    assert stored() == before


def test_an_alias_that_others_fall_back_to_cannot_be_removed(browser):
    make_next()
    row = price("gpt-4o", "next")
    row.fallback_alias = "gpt-4o-mini"
    row.save()
    url = page_of(row.version)
    form, before = form_of(browser, url), stored()
    form[row_of(form, "gpt-4o-mini", "next") + "DELETE"] = "on"
    assert "No other model alias" in errors_of(browser.post(url, form))
    assert stored() == before


@pytest.mark.parametrize(
    "sneaked",
    [{"status": "retired"}, {"version": "other"}, {"weight_output": "2"}, {"divisor": "1"}, {"revision": "99"}],
)
def test_what_is_shown_only_cannot_be_posted(browser, sneaked):
    url, before = page_of(seeded()), stored()
    assert browser.post(url, {**form_of(browser, url), **sneaked}).status_code == 302
    assert stored() == before


def test_the_alias_of_a_price_cannot_be_posted(browser):
    url, before = page_of(seeded()), stored()
    form = form_of(browser, url)
    assert browser.post(url, {**form, row_of(form, "gpt-4o") + "model_alias": "gpt-5"}).status_code == 302
    assert stored() == before

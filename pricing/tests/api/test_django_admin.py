"""The Django admin, as staff uses it: over HTTP, with the forms as the pages show them."""

from __future__ import annotations

import re
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction
from django.test import Client

from pricing import cache
from pricing.models import ModelPricing, PricingRevision, PricingVersion
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

VERSIONS = "/admin/pricing/pricingversion/"
ALL = [f"{act}_{model}" for act in ("add", "change", "delete", "view") for model in ("pricingversion", "modelpricing")]


@pytest.fixture
def staff():
    return make_staff(*ALL, "view_pricingrevision")


@pytest.fixture
def browser(staff):
    client = Client()
    client.force_login(staff)
    return client


def page_of(version: PricingVersion) -> str:
    return f"{VERSIONS}{version.pk}/change/"


def form_of(browser: Client, url: str) -> dict[str, Any]:
    """What a browser would post if the page were submitted as it is."""
    context = browser.get(url).context
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    fields = [field for form in forms for field in form]
    return {field.html_name: _posted(field.value()) for field in fields if not field.field.disabled}


def _posted(value: Any) -> str:
    return "" if value is None else str(value)


def row_of(form: dict[str, Any], model_alias: str) -> str:
    """The prefix of a price's inputs: the rows are in the order of their aliases."""
    row = ModelPricing.objects.get(version__version=SEED, model_alias=model_alias)
    (name,) = [name for name, value in form.items() if name.endswith("-id") and value == str(row.pk)]
    return name.removesuffix("id")


def errors_of(answer: Any) -> str:
    assert answer.status_code == 200
    found = answer.context["errors"]
    assert found
    return " ".join(str(error) for error in found)


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
    assert "gpt-4o" in entry.get_change_message()
    assert "seen" not in entry.get_change_message().lower()


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


def test_an_old_page_does_not_write_old_prices_back(browser):
    url = page_of(seeded())
    form = form_of(browser, url)
    set_by_sql("gpt-4o", "3")
    form[row_of(form, "deepseek") + "multiplier"] = "0.6"
    before = stored()
    assert "Somebody else has changed prices" in errors_of(browser.post(url, form))
    assert stored() == before


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


def new_rows(form: dict[str, Any], *aliases: str, **fields: str) -> dict[str, Any]:
    first = int(form["models-TOTAL_FORMS"])
    added = dict(form)
    for number, alias in enumerate(aliases, start=first):
        values = {"model_alias": alias, "multiplier": "1", "provider": "default", "provider_model": "m", **fields}
        added |= {f"models-{number}-{name}": value for name, value in values.items()}
        added[f"models-{number}-context_tokens"] = "1000"
    return added | {"models-TOTAL_FORMS": str(first + len(aliases))}


def test_an_alias_is_added_and_removed(browser):
    url = page_of(seeded())
    added = new_rows(form_of(browser, url), "gpt-5", fallback_alias="gpt-4o")
    assert browser.post(url, added).status_code == 302
    assert price("gpt-5").fallback_alias == "gpt-4o"
    form = form_of(browser, url)
    form[row_of(form, "gpt-5") + "DELETE"] = "on"
    assert browser.post(url, form).status_code == 302
    assert not ModelPricing.objects.filter(model_alias="gpt-5").exists()
    last = PricingRevision.objects.get(pricing_version=SEED, revision=SEED_REVISION + 2)
    assert (last.action, last.model_alias) == ("removed", "gpt-5")


@pytest.mark.parametrize(
    "aliases", [("gpt-4o",), ("gpt-5", "gpt-5"), ("a b",), ("",), ("-a",), ("a" * 65,), ("a\x00",)]
)
def test_a_duplicate_or_malformed_alias_is_an_error_on_the_page(browser, aliases):
    url, before = page_of(seeded()), stored()
    assert errors_of(browser.post(url, new_rows(form_of(browser, url), *aliases)))
    assert stored() == before


def test_an_alias_that_others_fall_back_to_cannot_be_removed(browser):
    row = price("gpt-4o")
    row.fallback_alias = "gpt-4o-mini"
    row.save()
    url = page_of(seeded())
    form, before = form_of(browser, url), stored()
    form[row_of(form, "gpt-4o-mini") + "DELETE"] = "on"
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
    assert str(staff.pk) in text
    row = PricingRevision.objects.get(revision=SEED_REVISION + 1)
    shown = f"/admin/pricing/pricingrevision/{row.pk}/change/"
    assert b"2.5000" in browser.get(shown).content
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

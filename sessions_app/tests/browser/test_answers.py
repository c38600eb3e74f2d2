"""What forms of the admin answer is sound for everybody, too: errors, previews, what was done; and login and logout."""

from __future__ import annotations

import pytest

from billing.models import CreditTransaction, CreditWallet
from pricing.models import PricingVersion
from sessions_app.tests.browser.desk import Desk
from sessions_app.tests.makers import PASSWORD, make_person

pytestmark = pytest.mark.usefixtures("committed")
WALLETS, LIMITS = "/admin/billing/creditwallet", "/admin/billing/spendinglimit"


@pytest.fixture
def alice():
    return make_person("alice")


def wallet_of(person):
    return CreditWallet.objects.get(user_id=person.id)


def errors_on(desk):
    return desk.page.locator("#content .errorlist").count()


def version_page():
    return f"/admin/pricing/pricingversion/{PricingVersion.objects.get(status='active').pk}"


def test_who_is_not_in_yet_is_asked_who_they_are_and_told_that_they_are_not(browser, web):
    with Desk.opened(browser, web.url) as desk:
        desk.look("/admin/login/", "login")
        desk.page.get_by_label("Email").fill("nobody@example.com")
        desk.page.get_by_label("Password").fill("wrong")
        desk.press("Log in")
        assert "Please enter the correct email" in desk.page.locator(".errornote").inner_text()
        desk.inspect("login-refused")


def test_whoever_leaves_is_told_so(browser, web, staff):
    # Not with the cookies of the other tests, which end here.
    with Desk.opened(browser, web.url) as desk:
        desk.sign_in(staff, PASSWORD)
        desk.look("/admin/password_change/", "password-change")
        with desk.page.expect_navigation():
            desk.page.get_by_role("button", name="Log out").click()
        desk.inspect("logged-out")


def test_a_price_that_is_refused_is_told_beside_its_field(desk):
    desk.go(f"{version_page()}/change/")
    fields = desk.page.locator('input[name$="-multiplier"]:visible')
    fields.first.evaluate("input => { input.form.noValidate = true; input.value = '-1' }")
    desk.page.get_by_role("button", name="Add another Model price").click()
    desk.page.locator("input[name$=-model_alias]:visible").last.fill("gpt-5")
    desk.press("Save")
    assert desk.page.locator("input[name$=-multiplier][aria-invalid=true]").count() == 2
    desk.inspect("price-version-refused")


def test_what_was_changed_of_a_price_is_told_in_its_history(desk):
    for multiplier in ("2.5", "2"):
        desk.go(f"{version_page()}/change/")
        desk.page.get_by_label("Multiplier: gpt-4o", exact=True).fill(multiplier)
        desk.press("Save")
    desk.look(f"{version_page()}/history/", "history")
    said = desk.page.locator("#change-history tbody td:last-child").all_inner_texts()
    assert said == ["Multiplier of gpt-4o: 2.0000 → 2.5000.", "Multiplier of gpt-4o: 2.5000 → 2.0000."]


def test_a_limit_that_is_refused_is_told_beside_its_field(desk):
    desk.go(f"{LIMITS}/add/")
    desk.page.get_by_label("User:", exact=True).fill("nobody@example.com")
    desk.page.locator("#content form").evaluate("form => { form.noValidate = true }")
    desk.page.get_by_role("button", name="Save", exact=True).click()
    desk.page.locator(".errornote").wait_for()
    assert errors_on(desk) == 3
    desk.inspect("limit-refused")


def test_credits_are_refused_looked_at_and_given(desk, alice):
    desk.go(f"{WALLETS}/{wallet_of(alice).pk}/grant/")
    desk.press("Continue: see what it comes to")
    assert errors_on(desk) == 2
    desk.inspect("grant-refused")
    desk.page.get_by_label("Amount").fill("2.5")
    desk.page.get_by_label("Reason").fill("A week of outage")
    desk.press("Continue: see what it comes to")
    desk.inspect("grant-preview")
    desk.press("Yes, do it")
    assert wallet_of(alice).balance == 12.5
    desk.inspect("granted")


def test_a_bulk_grant_is_refused_looked_at_and_done(desk, alice):
    bob = make_person("bob")
    desk.go(f"{WALLETS}/bulk/")
    desk.press("Continue: see who gets it")
    assert errors_on(desk) == 4
    desk.inspect("bulk-grant-refused")
    listed = f"email\n{alice.email}\n{bob.email}\n{bob.email}\nnobody@example.com\n"
    desk.page.locator("input[type=file]").set_input_files(
        {"name": "who.csv", "mimeType": "text/csv", "buffer": listed.encode()}
    )
    for label, text in (("Amount", "1"), ("Campaign", "spring"), ("Reason", "Spring")):
        desk.page.get_by_label(label).fill(text)
    desk.press("Continue: see who gets it")
    desk.inspect("bulk-grant-plan")
    before = CreditTransaction.objects.count()
    desk.press("Yes, grant to 2 users")
    assert CreditTransaction.objects.count() == before + 2
    desk.inspect("bulk-grant-done")


def test_rows_that_are_to_be_deleted_at_once_are_shown_first(desk):
    desk.go("/admin/auth/group/")
    desk.page.get_by_label("Select all objects on this page for an action").check()
    desk.page.locator("select[name=action]").select_option("delete_selected")
    desk.press("Go")
    desk.inspect("delete-selected")

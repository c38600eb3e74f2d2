from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from knox.models import AuthToken

from users.identities import user_of
from users.models import User
from users.outside_tokens import OutsideToken
from users.tests.makers import PASSWORD, make_token, make_user

pytestmark = pytest.mark.django_db
USERS = "/admin/users/user/"


def log_in(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def root() -> Client:
    return log_in(User.objects.create_superuser(email="root@example.com", password=PASSWORD))


@pytest.fixture
def helpdesk() -> Client:
    """Staff with every right over users, but no superuser."""
    staff = make_user("helpdesk@example.com", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="users"))
    return log_in(staff)


def change_form(user: User, **changes: Any) -> dict[str, Any]:
    inline = {f"identities-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    return {"email": user.email, "display_name": user.display_name, "is_active": "on", **inline, **changes}


def test_staff_log_in_with_their_address_in_any_case() -> None:
    User.objects.create_superuser(email="Root@example.com", password=PASSWORD)
    form = {"username": "rOOT@example.com", "password": PASSWORD, "next": USERS}
    response = Client().post("/admin/login/", form)
    assert (response.status_code, response.headers["Location"]) == (302, USERS)


def test_others_are_sent_to_the_login_page() -> None:
    alice = log_in(make_user("alice@example.com"))
    for browser in (Client(), alice):
        assert browser.get(USERS).status_code == 302


def test_a_user_is_added_by_address_and_password(root: Client) -> None:
    form = {"email": "Alice@example.com", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert root.post(f"{USERS}add/", form).status_code == 302
    alice = User.objects.get_by_natural_key("alice@example.com")
    assert alice.check_password(PASSWORD)
    assert (alice.is_staff, alice.is_superuser, alice.is_active) == (False, False, True)


def test_a_user_is_added_without_a_password(root: Client) -> None:
    assert root.post(f"{USERS}add/", {"email": "alice@example.com", "usable_password": "false"}).status_code == 302
    assert not User.objects.get_by_natural_key("alice@example.com").has_usable_password()


@pytest.mark.parametrize("email", ["ALICE@example.com", "alice@example.com", "alice", "älice@example.com", ""])
def test_an_address_that_is_taken_or_none_is_refused(root: Client, email: str) -> None:
    make_user("alice@example.com")
    form = {"email": email, "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    response = root.post(f"{USERS}add/", form)
    assert response.status_code == 200
    assert b"errornote" in response.content
    assert User.objects.count() == 2


def test_users_are_found_by_address(root: Client) -> None:
    make_user("alice@example.com")
    make_user("bob@example.com")
    page = root.get(USERS, {"q": "ALICE@"}).content.decode()
    assert "alice@example.com" in page
    assert "bob@example.com" not in page


def test_the_list_takes_as_many_queries_for_one_user_as_for_thirty(
    root: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        make_user(f"user{number}@example.com")
    with django_assert_max_num_queries(8):
        root.get(USERS)


def test_a_user_s_page_shows_outside_identities_and_changes_the_rest(root: Client) -> None:
    alice = user_of(OutsideToken("https://id.example.com", "alice-at-idp", "alice@example.com"))
    page = f"{USERS}{alice.pk}/change/"
    assert b"alice-at-idp" in root.get(page).content
    form = change_form(alice, email="alice2@example.com", is_staff="on", **{"identities-INITIAL_FORMS": "0"})
    assert root.post(page, form).status_code == 302
    alice.refresh_from_db()
    assert (alice.email, alice.is_staff, alice.identities.count()) == ("alice2@example.com", True, 1)


def test_a_new_password_ends_the_logins_of_that_user_only(root: Client) -> None:
    alice, bob = make_user("alice@example.com", password="old"), make_user("bob@example.com")
    for user in (alice, alice, bob):
        make_token(user)
    form = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert root.post(f"{USERS}{alice.pk}/password/", form).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert AuthToken.objects.get().user == bob


def test_nobody_is_deleted(root: Client) -> None:
    alice = make_user("alice@example.com")
    assert root.post(f"{USERS}{alice.pk}/delete/", {"post": "yes"}).status_code == 403
    page = root.get(USERS).content.decode()
    assert "delete_selected" not in page
    root.post(USERS, {"action": "delete_selected", "_selected_action": str(alice.pk), "post": "yes"})
    assert User.objects.filter(pk=alice.pk).exists()


def test_staff_below_superuser_give_nobody_powers(helpdesk: Client) -> None:
    alice = make_user("alice@example.com")
    right = Permission.objects.get(codename="change_user")
    form = change_form(alice, display_name="Alice", is_staff="on", is_superuser="on", user_permissions=[right.pk])
    assert helpdesk.post(f"{USERS}{alice.pk}/change/", form).status_code == 302
    alice.refresh_from_db()
    assert (alice.display_name, alice.is_staff, alice.is_superuser) == ("Alice", False, False)
    assert not alice.user_permissions.exists()


def test_staff_below_superuser_give_themselves_no_powers(helpdesk: Client) -> None:
    own = User.objects.get(email="helpdesk@example.com")
    helpdesk.post(f"{USERS}{own.pk}/change/", change_form(own, display_name="Desk", is_superuser="on"))
    own.refresh_from_db()
    assert (own.display_name, own.is_superuser, own.is_staff) == ("Desk", False, True)


@pytest.mark.parametrize("powers", [{"is_staff": True}, {"is_superuser": True}])
def test_staff_below_superuser_do_not_touch_other_staff(helpdesk: Client, powers: dict[str, bool]) -> None:
    other = make_user("other@example.com", password="old", **powers)
    form = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert helpdesk.post(f"{USERS}{other.pk}/password/", form).status_code == 403
    assert helpdesk.post(f"{USERS}{other.pk}/change/", change_form(other, email="x@example.com")).status_code == 403
    other.refresh_from_db()
    assert (other.email, other.check_password("old")) == ("other@example.com", True)


def test_tokens_are_listed_without_digest_and_cannot_be_written(root: Client) -> None:
    token = make_token(make_user("alice@example.com"))
    row = AuthToken.objects.get()
    page = root.get("/admin/knox/authtoken/").content.decode()
    assert "alice@example.com" in page
    assert row.digest not in page
    assert token[:15] not in page
    assert root.get("/admin/knox/authtoken/add/").status_code == 403
    assert root.post(f"/admin/knox/authtoken/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert AuthToken.objects.count() == 1

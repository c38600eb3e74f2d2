from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from config.core.errors import AdminRequired, PermissionMissing
from users.identities import user_of
from users.models import User
from users.outside_tokens import OutsideToken
from users.permissions import IsStaffOrAdmin, caller, is_admin, require_permission
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db
RIGHT = "users.change_user"


def request_of(user: User | AnonymousUser) -> Request:
    request = Request(APIRequestFactory().get("/"))
    request.user = user
    return request


def give(user: User, codename: str) -> User:
    user.user_permissions.add(Permission.objects.get(content_type__app_label="users", codename=codename))
    return User.objects.get(pk=user.pk)


def test_staff_are_admins_and_others_are_not() -> None:
    assert is_admin(make_user("staff@example.com", is_staff=True))
    assert not is_admin(make_user("alice@example.com"))
    assert not is_admin(make_user("gone@example.com", is_staff=True, is_active=False))
    assert not is_admin(AnonymousUser())


def test_who_is_listed_by_our_id_is_an_admin(settings: Any) -> None:
    alice, bob = make_user("alice@example.com"), make_user("bob@example.com")
    settings.ADMIN_USER_IDS = frozenset([str(alice.pk).upper()])
    assert is_admin(alice)
    assert not is_admin(bob)


def test_who_is_listed_by_outside_subject_is_an_admin(settings: Any) -> None:
    settings.ADMIN_USER_IDS = frozenset(["alice-at-idp"])
    assert is_admin(user_of(OutsideToken("", "alice-at-idp", None)))
    assert not is_admin(user_of(OutsideToken("", "Alice-at-idp", None)))


def test_a_listed_account_that_is_switched_off_is_no_admin(settings: Any) -> None:
    alice = make_user(is_active=False)
    settings.ADMIN_USER_IDS = frozenset([str(alice.pk)])
    assert not is_admin(alice)
    with pytest.raises(AdminRequired):
        require_permission(request_of(alice), RIGHT)


def test_the_permission_class_refuses_users_and_leaves_the_anonymous_to_401() -> None:
    permission = IsStaffOrAdmin()
    assert permission.has_permission(request_of(make_user("staff@example.com", is_staff=True)), None)
    assert not permission.has_permission(request_of(AnonymousUser()), None)
    with pytest.raises(AdminRequired):
        permission.has_permission(request_of(make_user()), None)


def test_staff_need_the_django_permission() -> None:
    staff = make_user("staff@example.com", is_staff=True)
    with pytest.raises(PermissionMissing):
        require_permission(request_of(staff), RIGHT)
    require_permission(request_of(give(staff, "change_user")), RIGHT)
    with pytest.raises(PermissionMissing):
        require_permission(request_of(give(staff, "add_user")), "users.delete_user")


def test_a_permission_does_not_make_staff() -> None:
    with pytest.raises(AdminRequired):
        require_permission(request_of(give(make_user(), "change_user")), RIGHT)


def test_superusers_and_the_listed_may_do_everything(settings: Any) -> None:
    require_permission(request_of(User.objects.create_superuser(email="root@example.com")), RIGHT)
    alice = make_user()
    settings.ADMIN_USER_IDS = frozenset([str(alice.pk)])
    require_permission(request_of(alice), RIGHT)
    require_permission(request_of(alice), "no_such_app.no_such_right")


def test_the_anonymous_are_asked_to_log_in() -> None:
    with pytest.raises(NotAuthenticated):
        require_permission(request_of(AnonymousUser()), RIGHT)
    with pytest.raises(NotAuthenticated):
        caller(request_of(AnonymousUser()))


def test_without_listed_admins_the_question_asks_no_database(django_assert_num_queries: Any) -> None:
    alice = make_user()
    with django_assert_num_queries(0):
        assert not is_admin(alice)

"""Logging in to the admin: who may, and how often it may fail."""

from __future__ import annotations

import pytest
from django.test import Client

from config.core.ids import uuid7
from users.models import User
from users.tests.makers import PASSWORD, make_user

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def _two_failures(settings):
    settings.RATE_LIMIT_LOGIN_FAILURES = 2


def log_in(email, password):
    return Client().post(LOGIN, {"username": email, "password": password, "next": "/admin/"})


def unused():
    """An address that no earlier run has counted failures for."""
    return f"staff-{uuid7().hex[-12:]}@example.com"


def test_failures_are_limited_as_over_http():
    staff = User.objects.create_superuser(email=unused(), password=PASSWORD)
    assert b"Please enter the correct" in log_in(staff.email, "wrong").content
    assert Client().post("/api/v1/auth/token", {"email": staff.email, "password": "wrong"}).status_code in {401, 415}
    log_in(staff.email, "wrong")
    refused = log_in(staff.email, PASSWORD)
    assert refused.status_code == 200
    assert "Too many requests; please try again in" in refused.content.decode()
    assert "_auth_user_id" not in refused.client.session


def test_the_right_password_does_not_count():
    staff = User.objects.create_superuser(email=unused(), password=PASSWORD)
    for _ in range(4):
        assert log_in(staff.email, PASSWORD).status_code == 302


def test_who_is_listed_enters_and_others_do_not(settings):
    listed, alice = make_user(unused(), password=PASSWORD), make_user(unused(), password=PASSWORD)
    settings.ADMIN_USER_IDS = frozenset({str(listed.pk)})
    entered = log_in(listed.email, PASSWORD)
    assert (entered.status_code, entered.headers["Location"]) == (302, "/admin/")
    assert log_in(alice.email, PASSWORD).status_code == 200
    browser = Client()
    browser.force_login(listed)
    assert browser.get("/admin/billing/creditwallet/").status_code == 200
    assert browser.get(f"/admin/users/user/{alice.pk}/change/").status_code == 200

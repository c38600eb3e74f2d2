"""Secure cookies everywhere but from this machine to itself."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _production(settings) -> None:
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.ALLOWED_HOSTS = ["*"]


@pytest.mark.parametrize(
    ("request_", "is_secure"),
    [
        ({"headers": {"Host": "127.0.0.1:8000"}}, False),
        ({"headers": {"Host": "localhost:8000"}}, False),
        ({"headers": {"Host": "[::1]:8000"}, "REMOTE_ADDR": "::1"}, False),
        ({"headers": {"Host": "tallyroom.example.com"}}, True),
        ({"headers": {"Host": "localhost.example.com"}}, True),
        ({"headers": {"Host": "localhost"}, "REMOTE_ADDR": "10.0.0.7"}, True),
        ({"headers": {"Host": "localhost", "X-Forwarded-For": "203.0.113.9"}}, True),
        ({"headers": {"Host": "localhost", "Via": "1.1 proxy"}}, True),
        ({"headers": {"Host": "localhost"}, "secure": True}, True),
    ],
)
def test_the_login_pages_cookie_is_secure_unless_it_stays_on_this_machine(request_, is_secure) -> None:
    cookie = Client().get("/admin/login/", **request_).cookies["csrftoken"]
    assert bool(cookie["secure"]) is is_secure

"""What is no proper request to begin with, sent to the real address space. Nothing is written by any of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from knox.models import AuthToken
from rest_framework.test import APIClient

from users.models import User

pytestmark = pytest.mark.django_db
TOKEN = "/api/v1/auth/token"


@pytest.fixture(autouse=True)
def _nothing_written(settings: Any) -> Iterator[None]:
    settings.AUTH_ALLOW_SIGNUP = True
    yield
    assert (User.objects.count(), AuthToken.objects.count()) == (0, 0)


def answer(response: Any) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"]
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("path", ["/api/v1/auth/tokens", "/api/v1/auth/token/", "/api/v1/auth", "/api/v1/auth/%00"])
def test_a_path_that_leads_nowhere(client: APIClient, path: str) -> None:
    assert answer(client.get(path)) == (404, "not_found")


@pytest.mark.parametrize("path", ["register", "token", "logout"])
def test_a_method_that_is_not_offered(client: APIClient, path: str) -> None:
    response = client.put(f"/api/v1/auth/{path}")
    # Where a token is needed, that is said first.
    assert answer(response) == ((401, "not_authenticated") if path == "logout" else (405, "method_not_allowed"))


@pytest.mark.parametrize("path", ["register", "token"])
@pytest.mark.parametrize("body", [b"{", b"[1,]", b'{"email": NaN}', b"\xff\xfe", b'{"email": "\xff"}', b"\x00"])
def test_a_body_that_is_no_json(client: APIClient, path: str, body: Any) -> None:
    response = client.generic("POST", f"/api/v1/auth/{path}", body, content_type="application/json")
    assert answer(response) == (400, "malformed_json")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_body_of_another_type(client: APIClient, content_type: str) -> None:
    response = client.generic("POST", TOKEN, "email=a&password=b", content_type=content_type)
    assert response.status_code == 415
    answer(response)


def test_an_answer_of_another_type(client: APIClient) -> None:
    body = '{"email": "a@b.co", "password": "x"}'
    response = client.generic("POST", TOKEN, body, content_type="application/json", headers={"Accept": "text/html"})
    assert answer(response) == (406, "not_acceptable")

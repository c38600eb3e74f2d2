from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from knox.models import AuthToken
from rest_framework.test import APIClient

from users.tests.makers import PASSWORD, make_token, make_user

pytestmark = pytest.mark.django_db
URL = "/api/v1/auth/token"
ME = "/api/v1/auth/me"


def log_in(client: APIClient, email: str = "alice@example.com", password: Any = PASSWORD) -> Any:
    return client.post(URL, {"email": email, "password": password})


def me(client: APIClient, token: str) -> Any:
    return client.get(ME, headers={"Authorization": f"Bearer {token}"})


def test_logging_in_gives_a_token_that_works(client: APIClient) -> None:
    alice = make_user(password=PASSWORD)
    response = log_in(client)
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"token", "expires_at"}
    assert timedelta(hours=9) < datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC) <= timedelta(hours=10)
    assert me(client, body["token"]).json()["id"] == str(alice.pk)


def test_the_database_holds_no_token_in_clear(client: APIClient) -> None:
    make_user(password=PASSWORD)
    token = log_in(client).json()["token"]
    row = AuthToken.objects.values().get()
    assert token not in str(row)
    assert row["token_key"] == token[:15]


def test_the_address_counts_in_any_case(client: APIClient) -> None:
    make_user("Alice@example.com", password=PASSWORD)
    assert log_in(client, "ALICE@EXAMPLE.COM").status_code == 200


@pytest.mark.parametrize("case", ["unknown", "wrong", "inactive", "no password", "not even an address"])
def test_all_wrong_credentials_get_the_same_answer_for_the_same_work(
    client: APIClient, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user(password=PASSWORD)
    make_user("bob@example.com", password=PASSWORD, is_active=False)
    make_user("carol@example.com")
    encode = Mock(side_effect=MD5PasswordHasher().encode)
    monkeypatch.setattr(MD5PasswordHasher, "encode", encode)
    response = {
        "unknown": lambda: log_in(client, "nobody@example.com"),
        "wrong": lambda: log_in(client, password=PASSWORD + "!"),
        "inactive": lambda: log_in(client, "bob@example.com"),
        "no password": lambda: log_in(client, "carol@example.com"),
        "not even an address": lambda: log_in(client, "nobody"),
    }[case]()
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:tallyroom:problem:not_authenticated",
        "title": "Unauthorized",
        "status": 401,
        "detail": "The e-mail address or the password is wrong.",
        "code": "not_authenticated",
    }
    assert encode.call_count == 1
    assert not AuthToken.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "alice@example.com"}, "password"),
        ({"password": PASSWORD}, "email"),
        ({"email": "alice@example.com", "password": 5}, "password"),
        ({"email": "alice@example.com", "password": "x" * 129}, "password"),
        ({"email": "alice@example.com", "password": "a\x00b"}, "password"),
        ({"email": "al\x00ice@example.com", "password": PASSWORD}, "email"),
        ({"email": "\udc00", "password": PASSWORD}, "email"),
        ({"email": "a" * 255, "password": PASSWORD}, "email"),
        ({"email": ["alice@example.com"], "password": PASSWORD}, "email"),
        ({"email": "alice@example.com", "password": PASSWORD, "remember": True}, "remember"),
    ],
)
def test_a_malformed_login_is_named(client: APIClient, body: dict[str, object], field: str) -> None:
    make_user(password=PASSWORD)
    response = client.post(URL, body)
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert not AuthToken.objects.exists()


def test_logging_in_clears_the_user_s_expired_tokens_and_no_others(client: APIClient) -> None:
    alice, bob = make_user(password=PASSWORD), make_user("bob@example.com")
    old, live, others = make_token(alice), make_token(alice), make_token(bob)
    past = datetime.now(UTC) - timedelta(seconds=1)
    AuthToken.objects.filter(token_key__in=[old[:15], others[:15]]).update(expiry=past)
    new = log_in(client).json()["token"]
    assert set(AuthToken.objects.values_list("token_key", flat=True)) == {token[:15] for token in (live, others, new)}


def test_logging_out_revokes_the_presented_token_only(client: APIClient) -> None:
    make_user(password=PASSWORD)
    first, second = (log_in(client).json()["token"] for _ in range(2))
    response = client.post("/api/v1/auth/logout", headers={"Authorization": f"Bearer {first}"})
    assert (response.status_code, response.content) == (204, b"")
    assert me(client, first).status_code == 401
    assert me(client, second).status_code == 200


def test_logging_out_twice_is_401(client: APIClient) -> None:
    header = {"Authorization": f"Bearer {make_token(make_user())}"}
    assert client.post("/api/v1/auth/logout", headers=header).status_code == 204
    response = client.post("/api/v1/auth/logout", headers=header)
    assert (response.status_code, response.json()["code"]) == (401, "token_invalid")


def test_logging_out_without_a_token_is_401(client: APIClient) -> None:
    response = client.post("/api/v1/auth/logout")
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")

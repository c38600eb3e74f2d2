from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from users.models import User
from users.tests.makers import PASSWORD, make_user

pytestmark = pytest.mark.django_db
URL = "/api/v1/auth/register"
ALICE = {"email": "Alice@example.com", "password": PASSWORD}


@pytest.fixture(autouse=True)
def _open(settings: Any) -> None:
    settings.AUTH_ALLOW_SIGNUP = True


def refused_fields(response: Any) -> dict[str, str]:
    """Field → code of a 422, after which nobody may have been added."""
    assert response.status_code == 422, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == "validation_error"
    assert User.objects.exclude(email="bob@example.com").count() == 0
    return {error["field"]: error["code"] for error in body["errors"]}


def test_signing_up_makes_an_ordinary_account(client: APIClient) -> None:
    response = client.post(URL, ALICE)
    assert response.status_code == 201
    body = response.json()
    alice = User.objects.get()
    assert body == {
        "id": str(alice.pk),
        "email": "Alice@example.com",
        "is_admin": False,
        "created_at": body["created_at"],
    }
    assert datetime.now(UTC) - datetime.fromisoformat(body["created_at"]) < timedelta(minutes=1)
    assert body["created_at"].endswith("Z")
    assert alice.check_password(PASSWORD)
    assert (alice.is_staff, alice.is_superuser) == (False, False)


def test_where_sign_up_is_closed_nothing_is_even_read(client: APIClient, settings: Any) -> None:
    settings.AUTH_ALLOW_SIGNUP = False
    for body in (ALICE, {}, {"email": 5}):
        response = client.post(URL, body)
        assert (response.status_code, response.json()["code"]) == (403, "signup_disabled")
    assert not User.objects.exists()


@pytest.mark.parametrize("email", ["bob@example.com", "BOB@Example.com"])
def test_an_address_that_is_taken_in_any_case_is_refused(client: APIClient, email: str) -> None:
    make_user("bob@example.com")
    assert refused_fields(client.post(URL, {**ALICE, "email": email})) == {"email": "unique"}
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "password_too_short"),
        ("password123", "password_too_common"),
        ("alice@example", "password_too_similar"),
        ("x" * 129, "max_length"),
        ("", "blank"),
        (None, "null"),
        (123456789012, "invalid"),
        (True, "invalid"),
        (["correct horse battery staple"], "invalid"),
        ({"a": "b"}, "invalid"),
        ("correct horse\x00battery", "null_characters_not_allowed"),
        ("correct horse \ud800 battery", "surrogate_characters_not_allowed"),
    ],
)
def test_a_password_that_will_not_do_is_named(client: APIClient, password: object, code: str) -> None:
    assert refused_fields(client.post(URL, {**ALICE, "password": password})) == {"password": code}


def test_every_rule_that_a_password_breaks_is_named(client: APIClient) -> None:
    errors = client.post(URL, {**ALICE, "password": "12345"}).json()["errors"]
    assert [(error["field"], error["code"]) for error in errors] == [
        ("password", "password_too_short"),
        ("password", "password_too_common"),
    ]


@pytest.mark.parametrize(
    "email",
    [
        "",
        "alice",
        "älice@example.com",
        "alice@example.com\x00",
        "a" * 250 + "@b.co",
        "x@identity.invalid",
        "\ud800@b.co",
    ],
)
def test_what_is_no_address_is_refused(client: APIClient, email: str) -> None:
    assert list(refused_fields(client.post(URL, {**ALICE, "email": email}))) == ["email"]


@pytest.mark.parametrize("email", [None, 5, True, [], {}, ["alice@example.com"]])
def test_an_address_of_another_type_is_refused(client: APIClient, email: object) -> None:
    assert list(refused_fields(client.post(URL, {**ALICE, "email": email}))) == ["email"]


def test_missing_fields_are_named(client: APIClient) -> None:
    assert refused_fields(client.post(URL, {})) == {"email": "required", "password": "required"}


@pytest.mark.parametrize(
    "name", ["is_staff", "is_superuser", "id", "display_name", "Email", "\x00", "\ud800", "n" * 5000]
)
def test_a_field_that_is_not_known_is_refused(client: APIClient, name: str) -> None:
    (code,) = refused_fields(client.post(URL, {**ALICE, name: True})).values()
    assert code == "unknown_field"


@pytest.mark.parametrize("body", ["[]", '"text"', "5", "true", "null", '[{"email": "alice@example.com"}]'])
def test_a_body_that_is_no_object_is_refused(client: APIClient, body: str) -> None:
    response = client.generic("POST", URL, body, content_type="application/json")
    assert response.status_code == 422
    assert not User.objects.exists()


def test_a_stale_token_in_the_header_does_not_get_in_the_way(client: APIClient) -> None:
    assert client.post(URL, ALICE, headers={"Authorization": "Bearer long-gone"}).status_code == 201


def test_spaces_around_a_password_count(client: APIClient) -> None:
    assert client.post(URL, {**ALICE, "password": f" {PASSWORD} "}).status_code == 201
    assert User.objects.get().check_password(f" {PASSWORD} ")


def test_a_password_of_128_characters_is_taken(client: APIClient) -> None:
    assert client.post(URL, {**ALICE, "password": "äx" * 64}).status_code == 201

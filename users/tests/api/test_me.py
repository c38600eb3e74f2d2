from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from knox.models import AuthToken
from rest_framework.test import APIClient

from users.models import User
from users.tests.makers import make_jwt, make_token, make_user

pytestmark = pytest.mark.django_db
URL = "/api/v1/auth/me"


def me(client: APIClient, header: str | None = None) -> Any:
    return client.get(URL, headers={} if header is None else {"Authorization": header})


def refusal(response: Any) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["WWW-Authenticate"] == "Bearer"
    return response.status_code, response.json()["code"]


def test_me_shows_the_caller_and_nobody_else(client: APIClient) -> None:
    alice, bob = make_user("alice@example.com"), make_user("bob@example.com", is_staff=True)
    for user in (alice, bob):
        response = me(client, f"Bearer {make_token(user)}")
        assert response.status_code == 200
        assert response.json() == {
            "id": str(user.pk),
            "email": user.email,
            "is_admin": user.is_staff,
            "created_at": user.created_at.isoformat().replace("+00:00", "Z"),
        }


def test_who_is_listed_is_shown_as_admin(client: APIClient, settings: Any) -> None:
    alice = make_user()
    settings.ADMIN_USER_IDS = frozenset([str(alice.pk)])
    assert me(client, f"Bearer {make_token(alice)}").json()["is_admin"] is True


def test_a_token_costs_one_query(client: APIClient, django_assert_num_queries: Any) -> None:
    header = f"Bearer {make_token(make_user())}"
    with django_assert_num_queries(1):
        assert me(client, header).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Basic YWxpY2U6eA=="])
def test_without_a_bearer_token_the_database_is_not_asked(
    client: APIClient, header: str | None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert refusal(me(client, header)) == (401, "not_authenticated")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer a b",
        "Bearer tökén",
        "Bearer \u4e2d\u6587",
        "Bearer a\x00b",
        "Bearer " + "a" * 10_000,
        "Bearer " + "a." * 5_000,
        "Bearer ..",
        "Bearer a.b.c",
        "Bearer \ud800",
    ],
)
def test_a_malformed_token_is_refused_without_asking_the_database(
    client: APIClient, header: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert refusal(me(client, header)) == (401, "token_invalid")


def test_a_token_that_differs_after_its_key_is_refused(client: APIClient) -> None:
    token = make_token(make_user())
    for forged in (token[:-1] + ("0" if token[-1] != "0" else "1"), token[:15], token + "0", token.upper() + "A"):
        assert refusal(me(client, f"Bearer {forged}")) == (401, "token_invalid")
    digest = AuthToken.objects.get().digest
    assert refusal(me(client, f"Bearer {digest}")) == (401, "token_invalid")


def test_two_tokens_with_one_key_are_told_apart_in_one_query(client: APIClient, django_assert_num_queries: Any) -> None:
    alice, bob = make_user("alice@example.com"), make_user("bob@example.com")
    first, second = make_token(alice), make_token(bob)
    AuthToken.objects.filter(token_key=first[:15]).update(token_key=second[:15])
    with django_assert_num_queries(1):
        assert me(client, f"Bearer {second}").json()["email"] == "bob@example.com"


def test_an_expired_token_is_refused_in_one_query_and_left_for_the_next_login(
    client: APIClient, django_assert_num_queries: Any
) -> None:
    token = make_token(make_user())
    AuthToken.objects.update(expiry=datetime.now(UTC) - timedelta(milliseconds=1))
    with django_assert_num_queries(1):
        assert refusal(me(client, f"Bearer {token}")) == (401, "token_invalid")
    assert AuthToken.objects.count() == 1


def test_an_account_that_was_switched_off_is_refused(client: APIClient) -> None:
    alice = make_user()
    token = make_token(alice)
    User.objects.update(is_active=False)
    assert refusal(me(client, f"Bearer {token}")) == (401, "token_invalid")


@pytest.mark.usefixtures("_outside_provider")
def test_an_outside_person_that_was_switched_off_is_refused(client: APIClient) -> None:
    header = f"Bearer {make_jwt()}"
    assert me(client, header).status_code == 200
    User.objects.update(is_active=False)
    assert refusal(me(client, header)) == (401, "token_invalid")
    assert User.objects.count() == 1


@pytest.mark.usefixtures("_outside_provider")
def test_the_first_outside_token_makes_the_user_and_later_ones_cost_one_query(
    client: APIClient, django_assert_num_queries: Any
) -> None:
    header = f"Bearer {make_jwt(email='alice@example.com')}"
    first = me(client, header).json()
    assert (first["email"], first["is_admin"]) == ("alice@example.com", False)
    with django_assert_num_queries(1):
        assert me(client, header).json() == first
    assert User.objects.count() == 1


@pytest.mark.usefixtures("_outside_provider")
def test_an_outside_subject_can_be_listed_as_admin(client: APIClient, settings: Any) -> None:
    settings.ADMIN_USER_IDS = frozenset(["alice-at-idp"])
    assert me(client, f"Bearer {make_jwt()}").json()["is_admin"] is True
    assert me(client, f"Bearer {make_jwt(sub='bob-at-idp')}").json()["is_admin"] is False


@pytest.mark.usefixtures("_outside_provider")
def test_an_outside_token_cannot_be_revoked_here(client: APIClient) -> None:
    header = f"Bearer {make_jwt()}"
    response = client.post("/api/v1/auth/logout", headers={"Authorization": header})
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")
    assert response.json()["detail"] == (
        "This token was issued by an outside identity provider, so it cannot be revoked here."
    )
    assert me(client, header).status_code == 200


def test_another_method_is_405(client: APIClient) -> None:
    response = client.delete(URL, headers={"Authorization": f"Bearer {make_token(make_user())}"})
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert User.objects.count() == 1


def test_the_request_s_log_line_names_the_caller(client: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    alice = make_user()
    with caplog.at_level("INFO", "config.core.middleware"):
        me(client, f"Bearer {make_token(alice)}")
        me(client)
    with_token, without = (record.msg for record in caplog.records if record.name == "config.core.middleware")
    assert isinstance(with_token, dict)
    assert with_token["user_id"] == str(alice.pk)
    assert "user_id" not in without

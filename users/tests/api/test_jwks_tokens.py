"""Tokens signed with keys that the provider publishes: who gets in, and what happens when the provider misbehaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from users import key_set_fetch, provider_keys
from users.models import ExternalIdentity, User
from users.provider_keys import RETRY_S, ProviderKeys
from users.tests.identity_provider import (
    IdentityProvider,
    PrivateKey,
    answer,
    ec_key,
    endlessly,
    jwk,
    make_signed,
    rsa_key,
    slowly,
)
from users.tests.makers import ISSUER, make_jwt

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_outside_provider")]
BOTH = [(rsa_key, "rsa-1"), (ec_key, "ec-1")]


@pytest.fixture
def provider(settings: Any) -> Iterator[IdentityProvider]:
    with IdentityProvider() as serving:
        serving.keys = [jwk(rsa_key()), jwk(ec_key(), "ec-1")]
        settings.AUTH_JWKS_URL = serving.url
        settings.AUTH_JWT_SECRET = ""
        yield serving


def me(client: APIClient, token: str) -> Any:
    return client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})


def code(client: APIClient, token: str) -> tuple[int, str]:
    response = me(client, token)
    return response.status_code, response.json().get("code", "")


@pytest.mark.parametrize(("key", "kid"), BOTH)
def test_the_first_token_makes_the_user_and_the_next_finds_it(
    client: APIClient, provider: IdentityProvider, key: Any, kid: str, django_assert_num_queries: Any
) -> None:
    first = me(client, make_signed(key(), kid=kid, email="alice@example.com"))
    assert (first.status_code, first.json()["email"]) == (200, "alice@example.com")
    with django_assert_num_queries(1):
        second = me(client, make_signed(key(), kid=kid, email="mallory@example.com"))
    assert second.json() == first.json()
    identity = ExternalIdentity.objects.get()
    assert (str(identity.user_id), identity.issuer, identity.subject) == (first.json()["id"], ISSUER, "alice-at-idp")
    assert provider.asked == 1


def test_alice_and_bob_are_two(client: APIClient, provider: IdentityProvider) -> None:
    alice, bob = (me(client, make_signed(rsa_key(), sub=name)).json()["id"] for name in ("alice", "bob"))
    assert alice != bob
    assert User.objects.count() == 2


def test_the_same_subject_of_another_issuer_is_another_person(
    client: APIClient, provider: IdentityProvider, settings: Any
) -> None:
    settings.AUTH_JWT_ISSUER = ""
    ids = {me(client, make_signed(rsa_key(), iss=issuer)).json()["id"] for issuer in (ISSUER, "https://b.example.com")}
    assert len(ids) == User.objects.count() == 2


def test_a_provider_that_moves_from_a_secret_to_keys_keeps_its_people(
    client: APIClient, provider: IdentityProvider, settings: Any
) -> None:
    settings.AUTH_JWT_SECRET = "a-secret-that-we-share-with-the-provider-0123456789"
    old, new = me(client, make_jwt()), me(client, make_signed(rsa_key()))
    assert old.status_code == 200
    assert old.json() == new.json()


@pytest.mark.parametrize(("old", "kid"), BOTH)
@pytest.mark.parametrize("new", [rsa_key, ec_key])
def test_a_rotation_is_followed_at_once(
    client: APIClient, provider: IdentityProvider, old: Any, kid: str, new: Any
) -> None:
    assert me(client, make_signed(old(), kid=kid)).status_code == 200
    provider.keys.append(jwk(new("second"), "2"))
    assert me(client, make_signed(new("second"), kid="2")).status_code == 200
    assert me(client, make_signed(old(), kid=kid)).status_code == 200
    assert provider.asked == 2


def test_a_flood_of_made_up_key_ids_asks_the_provider_once(client: APIClient, provider: IdentityProvider) -> None:
    assert me(client, make_signed(rsa_key())).status_code == 200
    for number in range(30):
        assert code(client, make_signed(rsa_key("mallory"), kid=f"made-up-{number}")) == (401, "token_invalid")
    assert provider.asked == 2
    assert User.objects.count() == 1


def without_kid(key: PrivateKey) -> str:
    return make_signed(key, kid=None)


def test_a_token_without_a_kid_means_the_only_key_of_its_algorithm(
    client: APIClient, provider: IdentityProvider
) -> None:
    provider.keys.append(jwk(rsa_key("second"), "rsa-2"))
    assert me(client, without_kid(ec_key())).status_code == 200
    assert code(client, without_kid(rsa_key())) == (401, "token_invalid")
    assert code(client, without_kid(rsa_key("second"))) == (401, "token_invalid")


def test_a_provider_that_has_died_leaves_its_keys_in_use(client: APIClient, provider: IdentityProvider) -> None:
    assert me(client, make_signed(rsa_key())).status_code == 200
    provider.die()
    assert me(client, make_signed(rsa_key())).status_code == 200
    assert code(client, make_signed(rsa_key("second"), kid="rsa-2")) == (401, "token_invalid")
    assert me(client, make_signed(rsa_key())).status_code == 200


MISDEEDS = {
    "garbage": answer(b"<html>Log in to the hotel</html>"),
    "not a key set": answer(b"[]"),
    "error": answer(b'{"keys": []}', status=500),
    "redirect": answer(b"", status=302, headers={"Location": "https://evil.example.com/jwks"}),
    "another scheme": answer(b"", status=301, headers={"Location": "file:///etc/passwd"}),
    "slow": slowly(b" " * 1000, seconds_per_byte=0.02),
    "huge": endlessly,
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_provider_that_misbehaves_is_unavailable_until_it_behaves(
    client: APIClient, provider: IdentityProvider, misdeed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_set_fetch, "TIMEOUT_S", 0.5)
    provider.behave = MISDEEDS[misdeed]
    response = me(client, make_signed(rsa_key()))
    assert (response.status_code, response.json()["code"]) == (503, "identity_provider_unavailable")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "10"
    assert User.objects.count() == 0
    provider.behave = None
    of = provider_keys.provider_keys(provider.url)
    of._failed_at -= RETRY_S
    # Asked again in the background: the next caller finds the keys.
    assert code(client, make_signed(rsa_key())) == (503, "identity_provider_unavailable")
    assert of._running is None or of._running.wait(10)
    assert me(client, make_signed(rsa_key())).status_code == 200


@pytest.mark.parametrize("misdeed", ["garbage", "not a key set", "error", "redirect", "huge"])
def test_known_keys_outlive_a_misdeed(client: APIClient, provider: IdentityProvider, misdeed: str) -> None:
    assert me(client, make_signed(rsa_key())).status_code == 200
    provider.behave = MISDEEDS[misdeed]
    assert code(client, make_signed(rsa_key("second"), kid="rsa-2")) == (401, "token_invalid")
    assert me(client, make_signed(rsa_key())).status_code == 200


def test_a_token_of_the_secret_needs_no_provider(client: APIClient, provider: IdentityProvider, settings: Any) -> None:
    provider.die()
    settings.AUTH_JWT_SECRET = "a-secret-that-we-share-with-the-provider-0123456789"
    assert me(client, make_jwt()).status_code == 200


def test_a_turn_is_refused_with_the_same_503(client: APIClient, provider: IdentityProvider) -> None:
    provider.die()
    token = make_signed(rsa_key())
    for path in ("turns", "turns/stream"):
        response = client.post(
            f"/api/v1/sessions/01890000-0000-7000-8000-000000000000/{path}",
            {"message": "hi"},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert (response.status_code, response.json()["code"]) == (503, "identity_provider_unavailable")


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_provider_is_waited_for(
    client: APIClient, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    find = ProviderKeys.find

    def watched(self: ProviderKeys, **asked: Any) -> Any:
        seen.append((connection.connection, connection.in_atomic_block))
        return find(self, **asked)

    monkeypatch.setattr(ProviderKeys, "find", watched)
    connection.close()
    assert me(client, make_signed(rsa_key())).status_code == 200
    assert seen == [(None, False)]


def test_logging_out_with_such_a_token_is_refused_as_before(client: APIClient, provider: IdentityProvider) -> None:
    response = client.post("/api/v1/auth/logout", headers={"Authorization": f"Bearer {make_signed(rsa_key())}"})
    assert (response.status_code, json.loads(response.content)["code"]) == (422, "validation_error")

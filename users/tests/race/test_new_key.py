"""Many tokens of a key that we do not know yet, at the same moment."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from config.core.tests.racing import at_once
from users.models import ExternalIdentity, User
from users.tests.identity_provider import IdentityProvider, answer, ec_key, jwk, make_signed, rsa_key

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("_outside_provider")]
AT_ONCE = 20


def ask(token: str) -> tuple[int, Any]:
    response = APIClient().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    return response.status_code, response.json().get("id")


@pytest.mark.parametrize("is_first", [True, False], ids=["first key", "new key"])
def test_twenty_tokens_of_a_new_key_at_once_are_one_fetch_and_one_user(settings: Any, is_first: bool) -> None:
    with IdentityProvider() as provider:
        settings.AUTH_JWKS_URL = provider.url
        provider.keys = [jwk(rsa_key())]
        if not is_first:
            assert ask(make_signed(rsa_key(), sub="bob"))[0] == 200
        provider.keys = [jwk(rsa_key()), jwk(ec_key("second"), "ec-2")]
        asked_before, users_before = provider.asked, User.objects.count()
        token = make_signed(ec_key("second"), kid="ec-2")
        answers = at_once(*[lambda: ask(token)] * AT_ONCE)
        assert {status for status, _ in answers} == {200}
        assert len({user_id for _, user_id in answers}) == 1
        assert provider.asked == asked_before + 1
        assert User.objects.count() == users_before + 1
        assert ExternalIdentity.objects.filter(subject="alice-at-idp").count() == 1


def test_twenty_made_up_keys_at_once_are_one_fetch_while_good_tokens_go_on(settings: Any) -> None:
    with IdentityProvider() as provider:
        settings.AUTH_JWKS_URL = provider.url
        provider.keys = [jwk(rsa_key())]
        good = make_signed(rsa_key())
        assert ask(good)[0] == 200
        forged = [make_signed(rsa_key("mallory"), kid=f"made-up-{number}") for number in range(AT_ONCE)]
        answers = at_once(*[lambda token=token: ask(token)[0] for token in [*forged, *[good] * AT_ONCE]])
        assert answers == [401] * AT_ONCE + [200] * AT_ONCE
        assert provider.asked == 2


def test_twenty_tokens_at_once_while_the_provider_is_broken_are_one_fetch_and_no_user(settings: Any) -> None:
    with IdentityProvider() as provider:
        settings.AUTH_JWKS_URL = provider.url
        provider.behave = answer(b"<html>", status=502)
        assert set(at_once(*[lambda: ask(make_signed(rsa_key()))[0]] * AT_ONCE)) == {503}
        assert provider.asked == 1
        assert User.objects.count() == 0

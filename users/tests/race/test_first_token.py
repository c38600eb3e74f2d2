"""Threads at a barrier on a real database: what only a constraint can decide."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest
from django.db import connection

from config.core.errors import ValidationFailed
from users.identities import user_of
from users.models import ExternalIdentity, User
from users.outside_tokens import OutsideToken
from users.services import register
from users.tests.makers import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)
AT_ONCE = 20
T = TypeVar("T")


def all_at_once(work: Callable[[int], T]) -> list[T]:
    barrier = Barrier(AT_ONCE)

    def one(number: int) -> T:
        connection.ensure_connection()
        barrier.wait(timeout=30)
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


@pytest.mark.parametrize("email", ["alice@example.com", None])
def test_twenty_first_tokens_at_once_make_one_user(email: str | None) -> None:
    token = OutsideToken("https://id.example.com", "alice-at-idp", email)
    users = all_at_once(lambda _: user_of(token))
    assert len({user.pk for user in users}) == 1
    assert User.objects.get().email == (email or f"{users[0].pk}@identity.invalid")
    assert ExternalIdentity.objects.get().user_id == users[0].pk


def test_twenty_people_with_one_address_are_twenty_users_and_one_has_it() -> None:
    users = all_at_once(lambda number: user_of(OutsideToken("", f"person-{number}", "alice@example.com")))
    assert len({user.pk for user in users}) == AT_ONCE
    assert [user.email for user in users].count("alice@example.com") == 1
    assert User.objects.filter(email__endswith="@identity.invalid").count() == AT_ONCE - 1
    assert ExternalIdentity.objects.count() == AT_ONCE


def test_twenty_sign_ups_at_once_with_one_address_make_one_account(settings: Any) -> None:
    settings.AUTH_ALLOW_SIGNUP = True

    def sign_up(number: int) -> str:
        try:
            register(email="Alice@example.com" if number % 2 else "alice@example.com", password=PASSWORD)
        except ValidationFailed as error:
            return str(error.members["errors"][0]["code"])
        return "made"

    outcomes = all_at_once(sign_up)
    assert sorted(outcomes) == ["made"] + ["unique"] * (AT_ONCE - 1)
    assert User.objects.count() == 1

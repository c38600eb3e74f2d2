"""When keys are fetched and how long they count, by a clock that the tests turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from users import provider_keys as module
from users.errors import IdentityProviderUnavailable
from users.key_set_fetch import FetchFailed
from users.provider_keys import ProviderKeys
from users.tests.identity_provider import ec_key, jwk, rsa_key

FIRST, SECOND = jwk(rsa_key(), "first"), jwk(rsa_key("second"), "second")


class Provider:
    def __init__(self) -> None:
        self.now = 1000.0
        self.keys: list[Any] | None = [FIRST]
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()
        self.of = ProviderKeys("https://id.example.com/jwks", fetch=self.fetch, clock=lambda: self.now)

    def fetch(self, url: str) -> object:
        self.asked += 1
        assert self.answers.wait(10)
        if self.keys is None:
            raise FetchFailed("away")
        return {"keys": self.keys}

    def has(self, kid: str | None, algorithm: str = "RS256") -> bool:
        return self.of.find(kid=kid, algorithm=algorithm) is not None

    def settled(self, then: Callable[[], bool]) -> bool:
        """After the fetch in the background, if there is one."""
        running = self.of._running
        assert running is None or running.wait(10)
        return then()


@pytest.fixture
def provider() -> Provider:
    return Provider()


def test_keys_are_fetched_once_while_they_are_fresh(provider: Provider) -> None:
    for _ in range(5):
        assert provider.has("first")
        provider.now += module.RENEW_AFTER_S / 5
    assert provider.asked == 1


def test_older_keys_are_renewed_in_the_background(provider: Provider) -> None:
    assert provider.has("first")
    provider.now += module.RENEW_AFTER_S + 1
    provider.answers.clear()
    assert all(provider.has("first") for _ in range(5))
    provider.answers.set()
    assert provider.settled(lambda: provider.has("first"))
    assert provider.asked == 2


def test_a_withdrawn_key_is_refused_once_the_keys_are_no_longer_fresh(provider: Provider) -> None:
    assert provider.has("first")
    provider.keys = [SECOND]
    provider.now += module.FRESH_S + 1
    assert not provider.has("first")
    assert provider.has("second")
    assert provider.asked == 2


def test_a_provider_that_withdraws_all_keys_is_believed(provider: Provider) -> None:
    assert provider.has("first")
    provider.keys = []
    provider.now += module.FRESH_S + 1
    assert not provider.has("first")


def test_a_new_key_is_known_at_once(provider: Provider) -> None:
    assert provider.has("first")
    provider.now += 1
    provider.keys = [FIRST, SECOND]
    assert provider.has("second")
    assert provider.has("first")
    assert provider.asked == 2


@pytest.mark.parametrize("age", [1, module.RENEW_AFTER_S + 1, module.FRESH_S + 1])
def test_a_new_key_is_known_at_once_whatever_the_age_of_the_others(provider: Provider, age: float) -> None:
    assert provider.has("first")
    provider.now += age
    provider.keys = [SECOND]
    assert provider.has("second")


def test_a_flood_of_made_up_key_ids_is_one_fetch_in_half_a_minute(provider: Provider) -> None:
    assert provider.has("first")
    provider.now += 1
    for number in range(1000):
        assert not provider.has(f"made-up-{number}")
    assert provider.asked == 2
    provider.now += module.UNKNOWN_KID_COOLDOWN_S - 1
    assert not provider.has("made-up")
    assert provider.asked == 2
    provider.now += 1
    provider.keys = [SECOND]
    assert provider.has("second")
    assert provider.asked == 3


@pytest.mark.parametrize("keys", [[], [jwk(ec_key(), "first")], None])
def test_the_flood_is_bounded_too_where_there_are_no_keys_or_no_answer(
    provider: Provider, keys: list[Any] | None
) -> None:
    assert provider.has("first")
    provider.now += 1
    provider.keys = keys
    for number in range(100):
        assert not provider.has(f"made-up-{number}")
    assert provider.asked == 2


def test_the_first_token_with_a_made_up_key_id_is_one_fetch(provider: Provider) -> None:
    assert not provider.has("made-up")
    assert provider.asked == 1
    provider.keys = [SECOND]
    provider.now += 1
    assert provider.has("second")


def test_a_provider_that_does_not_answer_leaves_the_keys_in_use_for_a_while(provider: Provider) -> None:
    assert provider.has("first")
    provider.keys = None
    for _ in range(3):
        provider.now += module.STALE_MAX_S / 3
        assert provider.settled(lambda: provider.has("first"))
        assert not provider.has("second")
    provider.now += 1
    for kid in ("first", "second"):
        with pytest.raises(IdentityProviderUnavailable):
            provider.has(kid)
    provider.keys = [FIRST]
    provider.now += module.RETRY_S
    with pytest.raises(IdentityProviderUnavailable):
        provider.has("first")
    assert provider.settled(lambda: provider.has("first"))


def test_without_any_keys_the_provider_is_asked_again_after_a_while_and_nobody_waits_for_it(provider: Provider) -> None:
    provider.keys = None
    for _ in range(100):
        with pytest.raises(IdentityProviderUnavailable):
            provider.has("first")
    assert provider.asked == 1
    provider.now += module.RETRY_S
    provider.answers.clear()
    for _ in range(5):
        with pytest.raises(IdentityProviderUnavailable):
            provider.has("first")
    provider.keys = [FIRST]
    provider.answers.set()
    assert provider.settled(lambda: provider.has("first"))
    assert provider.asked == 2


def test_nobody_waits_for_ever(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    provider.answers.clear()
    with pytest.raises(IdentityProviderUnavailable):
        provider.has("first")
    provider.answers.set()
    assert provider.settled(lambda: provider.has("first"))


def test_a_fetch_that_hangs_holds_up_nobody_who_comes_later(provider: Provider) -> None:
    provider.answers.clear()
    with provider.of._lock:
        provider.of._begin()
    provider.now += module.WAIT_S
    started = time.monotonic()
    with pytest.raises(IdentityProviderUnavailable):
        provider.has("first")
    assert time.monotonic() - started < 1
    provider.answers.set()
    assert provider.settled(lambda: provider.has("first"))


def test_a_fetch_that_was_on_its_way_before_the_rotation_is_followed_by_another(provider: Provider) -> None:
    assert provider.has("first")
    provider.now += module.RENEW_AFTER_S + 1
    provider.answers.clear()
    assert provider.has("first")
    provider.now += 1
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(provider.has("second")))
    waiting.start()
    while provider.asked < 2:
        pass
    old, provider.keys = provider.of._running, [FIRST, SECOND]
    assert old is not None
    # What is on its way says what was true when it left.
    provider.of._end(old, keys=module.usable_keys({"keys": [FIRST]}), keys_at=provider.now - 1)
    provider.answers.set()
    waiting.join(10)
    assert found == [True]


def test_a_fetch_that_breaks_leaves_the_next_one_free(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Exception):
        pass

    def broken(_: str) -> object:
        raise Broken

    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_type))
    provider.of._fetch = broken
    with pytest.raises(IdentityProviderUnavailable):
        provider.has("first")
    provider.of._fetch = provider.fetch
    provider.now += module.RETRY_S
    with pytest.raises(IdentityProviderUnavailable):
        provider.has("first")
    assert provider.settled(lambda: provider.has("first"))
    assert seen == [Broken]


def test_a_url_has_one_set_of_keys() -> None:
    assert module.provider_keys("https://a.example.com") is module.provider_keys("https://a.example.com")
    assert module.provider_keys("https://a.example.com") is not module.provider_keys("https://b.example.com")

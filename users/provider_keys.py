"""The identity provider's keys, kept per process: when they are fetched, how long they count, and who waits for them.

A token that names a known key never waits. What an anonymous caller can cause with made-up key ids is bounded: one
fetch in `UNKNOWN_KID_COOLDOWN_S`, however many ask, and an answer after `WAIT_S` at the latest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread

import structlog

from users.errors import IdentityProviderUnavailable
from users.key_set_fetch import TIMEOUT_S, FetchFailed, fetch
from users.key_sets import NotAKeySet, VerifyingKey, matching, usable_keys

log = structlog.get_logger(__name__)
# Older keys are renewed in the background; keys older than FRESH_S are not used before the provider was asked again. So
# a key that the provider withdraws is refused within that time.
RENEW_AFTER_S = 300.0
FRESH_S = 600.0
# While the provider does not answer, the last keys stay in use: an outage there must not log everybody out here. Not
# for ever, because what it would tell us may be that a key was stolen.
STALE_MAX_S = 6 * 3600.0
UNKNOWN_KID_COOLDOWN_S = 30.0
RETRY_S = 10.0
# A little longer than a fetch may take. Looking up the host's address has no limit of its own.
WAIT_S = TIMEOUT_S + 1


class ProviderKeys:
    """The keys of one URL. The lock is never held while the network is waited for."""

    def __init__(
        self, url: str, *, fetch: Callable[[str], object] = fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._lock = Lock()
        self._keys: tuple[VerifyingKey, ...] = ()
        # When the fetch that brought the keys began; None before the first.
        self._keys_at: float | None = None
        self._running: Event | None = None
        self._begun_at = self._asked_for_unknown_at = self._failed_at = float("-inf")

    def find(self, *, kid: str | None, algorithm: str) -> VerifyingKey | None:
        """The key that a token means, None where the provider has no such key.

        Raises: IdentityProviderUnavailable while no keys are known at all.
        """
        asked_at = self._clock()
        key, fetching = self._look(kid, algorithm, asked_at)
        # Twice at most: for a fetch that was on its way, and for one that began after the token came.
        for _ in range(2):
            # Counted from when the fetch began: one that hangs holds up those who came first, not all who follow.
            if fetching is None or not fetching.wait(self._begun_at + WAIT_S - self._clock()):
                break
            key, fetching = self._look(kid, algorithm, asked_at)
        if key is None and self._age() > STALE_MAX_S:
            raise IdentityProviderUnavailable
        return key

    def _look(self, kid: str | None, algorithm: str, asked_at: float) -> tuple[VerifyingKey | None, Event | None]:
        """The key as far as we know, and the fetch that should be waited for before that is believed."""
        with self._lock:
            age = self._age()
            key = matching(self._keys, kid=kid, algorithm=algorithm) if age <= STALE_MAX_S else None
            renewing = self._renew() if age > RENEW_AFTER_S else None
            if key is None and age <= STALE_MAX_S:
                return None, self._ask_for_unknown(asked_at)
            # Nobody waits for a provider that has just failed to answer: each would hold a thread for nothing.
            return key, renewing if age > FRESH_S and not self._has_failed() else None

    def _renew(self) -> Event | None:
        if self._running is not None or self._clock() < self._failed_at + RETRY_S:
            return self._running
        return self._begin()

    def _ask_for_unknown(self, asked_at: float) -> Event | None:
        """Ask again for a key that we do not know: the provider may have changed its keys just now."""
        if self._running is not None:
            return self._running
        now = self._clock()
        if self._begun_at >= asked_at or now < self._asked_for_unknown_at + UNKNOWN_KID_COOLDOWN_S:
            return None
        self._asked_for_unknown_at = now
        return self._begin()

    def _begin(self) -> Event:
        """Fetch in a thread of its own, for all who ask meanwhile. The lock is held."""
        done = Event()
        Thread(target=self._run, args=(done, self._clock()), name="identity-keys", daemon=True).start()
        self._running, self._begun_at = done, self._clock()
        return done

    def _run(self, done: Event, begun_at: float) -> None:
        try:
            keys = usable_keys(self._fetch(self._url))
        except (FetchFailed, NotAKeySet) as error:
            log.warning("identity_keys_not_fetched", reason=str(error))
            self._end(done, failed_at=self._clock())
        except BaseException:
            self._end(done, failed_at=self._clock())
            raise
        else:
            log.info("identity_keys_fetched", usable=len(keys))
            self._end(done, keys=keys, keys_at=begun_at)

    def _end(
        self,
        done: Event,
        *,
        keys: tuple[VerifyingKey, ...] = (),
        keys_at: float | None = None,
        failed_at: float = float("-inf"),
    ) -> None:
        with self._lock:
            # Without keys, too, a set that was read is what counts: the provider has withdrawn them all.
            if keys_at is not None:
                self._keys, self._keys_at = keys, keys_at
            self._failed_at = failed_at
            self._running = None
        done.set()

    def _age(self) -> float:
        return float("inf") if self._keys_at is None else self._clock() - self._keys_at

    def _has_failed(self) -> bool:
        """Did the last fetch fail?"""
        return self._failed_at > float("-inf")


_OF_URL: dict[str, ProviderKeys] = {}


def provider_keys(url: str) -> ProviderKeys:
    # `setdefault` is one step: requests that come first at the same time share what one of them made.
    return _OF_URL.get(url) or _OF_URL.setdefault(url, ProviderKeys(url))

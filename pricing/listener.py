"""A daemon thread that keeps this process's prices fresh: at once when told so, and by looking now and then anyway."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from redis.client import PubSub

from config.core.errors import DomainError
from pricing import bus

# How long the thread sleeps without looking whether it is to stop.
_NAP_S = 0.25
_LONGEST_BACKOFF_S = 30.0

log = structlog.get_logger(__name__)


class Outage:
    """One log line when something goes away and one when it is back, however often it is tried in between."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.attempts = 0

    def failed(self, error: Exception) -> None:
        self.attempts += 1
        if self.attempts == 1:
            log.warning("pricing_listener_lost", what=self.what, error=str(error))

    def recovered(self) -> None:
        if self.attempts:
            log.info("pricing_listener_regained", what=self.what, failed_attempts=self.attempts)
        self.attempts = 0

    @property
    def backoff_s(self) -> float:
        """Doubling from half a second: 0.5, 1, 2 … 30."""
        return min(_LONGEST_BACKOFF_S, 0.25 * 2.0 ** min(self.attempts, 10))


class Listener:
    """Calls `refresh` on every message and every half PRICING_REFRESH_S.

    Half, so that a request hardly ever finds the snapshot due and pays for the look itself.
    """

    def __init__(self, refresh: Callable[[], object]) -> None:
        self._refresh = refresh
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._starting = threading.Lock()

    def start(self) -> None:
        """Idempotent. After a fork, the child has no such thread and starts its own."""
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stop = threading.Event()
            run = _Run(self._refresh, self._stop)
            self._thread = threading.Thread(target=run, name="pricing listener", daemon=True)
            self._thread.start()

    def stop(self, *, timeout_s: float = 3.0) -> None:
        """Idempotent. Returns when the thread has ended, or after the timeout: it is a daemon and holds nothing up."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()


class _Run:
    """One life of the thread. Redis and the database may each go away and come back, independently."""

    def __init__(self, refresh: Callable[[], object], stop: threading.Event) -> None:
        self._refresh = refresh
        self._stop = stop
        self._pubsub: PubSub | None = None
        self._next_try = 0.0
        self._redis = Outage("redis")
        self._database = Outage("database")

    def __call__(self) -> None:
        look_at = 0.0
        while not self._stop.is_set():
            told = self._told()
            if told or time.monotonic() >= look_at:
                self._look()
                look_at = time.monotonic() + max(settings.PRICING_REFRESH_S / 2, self._database_pause_s())
        self._hang_up()

    def _look(self) -> None:
        try:
            self._refresh()
        except (DatabaseError, InterfaceError, DomainError) as error:
            self._database.failed(error)
        else:
            self._database.recovered()
        finally:
            # This thread has no request whose end would give the connection back.
            connection.close()

    def _database_pause_s(self) -> float:
        return self._database.backoff_s if self._database.attempts else 0.0

    def _told(self) -> bool:
        """Nap until a message comes. True for one, and for a new subscription: what came before it went unheard."""
        if not settings.REDIS_URL or (self._pubsub is None and time.monotonic() < self._next_try):
            self._stop.wait(_NAP_S)
            return False
        try:
            if self._pubsub is None:
                self._pubsub = bus.subscribe()
                self._redis.recovered()
                return True
            return self._pubsub.get_message(timeout=_NAP_S) is not None
        except (redis.RedisError, OSError, ValueError) as error:
            self._redis.failed(error)
            self._next_try = time.monotonic() + self._redis.backoff_s
            self._hang_up()
            return False

    def _hang_up(self) -> None:
        if self._pubsub is None:
            return
        pubsub, self._pubsub = self._pubsub, None
        try:
            pubsub.close()
        except (redis.RedisError, OSError) as error:
            log.debug("pricing_redis_close_failed", error=str(error))

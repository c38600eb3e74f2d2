"""How an edit reaches other processes, and what happens when Redis or the database is away."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from django.conf import settings as project_settings
from django.db import OperationalError, connection, transaction

from config.core.ids import uuid7
from pricing import bus, cache, listener, services, signals
from pricing.listener import Listener
from pricing.tests.makers import SEED, SEED_REVISION, add_price, make_draft, price, set_by_sql

pytestmark = pytest.mark.django_db(transaction=True)

# A process with a listener whose own look is a minute away: only a message can tell it in time.
OTHER_PROCESS = """
import sys, time
import django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
settings.PRICING_REFRESH_S = 60
django.setup()
from pricing import bus, cache
bus.CHANNEL = sys.argv[2]
cache.start_listener()
cache.start_listener()
served, until = None, time.monotonic() + 30
while time.monotonic() < until:
    now = str(cache.current().models["gpt-4o"].multiplier)
    if now != served:
        served = now
        print(served, flush=True)
    time.sleep(0.01)
"""


class Lines:
    """Stands in for a module's logger and keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def info(self, event: str, **_: object) -> None:
        self.seen.append(("info", event))

    def warning(self, event: str, **_: object) -> None:
        self.seen.append(("warning", event))

    debug = info


def wait_for(condition, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def set_multiplier(multiplier: str) -> None:
    services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(multiplier), actor="test")


@pytest.fixture(autouse=True)
def _own_channel(monkeypatch):
    """Other workers' tests talk on the same Redis."""
    monkeypatch.setattr(bus, "CHANNEL", f"{bus.CHANNEL}:{uuid7()}")


@pytest.fixture
def heard():
    """The messages on the channel."""
    with bus.client() as client:
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        pubsub.subscribe(bus.CHANNEL)
        pubsub.get_message(timeout=1)

        def read(wait_s: float = 0.5) -> list[dict[str, object]]:
            found, until = [], time.monotonic() + wait_s
            while time.monotonic() < until:
                message = pubsub.get_message(timeout=0.05)
                if message:
                    found.append(json.loads(message["data"]))
            return found

        yield read
        pubsub.close()


@pytest.fixture
def run_listener():
    started = []

    def start(refresh) -> Listener:
        started.append(Listener(refresh))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()
        assert not one.running


def test_an_edit_here_is_served_by_two_other_processes():
    name = connection.settings_dict["NAME"]
    command = [sys.executable, "-c", OTHER_PROCESS, name, bus.CHANNEL]
    root = Path(project_settings.BASE_DIR)
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    try:
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == "2.0000\n"
        # Long enough for the listeners to subscribe: what is said before is caught by their first look instead.
        time.sleep(0.5)
        started = time.monotonic()
        set_multiplier("2.5")
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == "2.5000\n"
        assert time.monotonic() - started < 5
    finally:
        for other in others:
            other.kill()
            other.communicate()


def test_one_transaction_is_one_message(heard):
    with transaction.atomic():
        for alias in ("gpt-4o", "gpt-4o-mini", "deepseek"):
            row = price(alias)
            row.multiplier = Decimal("4.5")
            row.save()
    assert heard() == [{"pricing_version": SEED, "revision": SEED_REVISION + 3}]


def test_a_draft_is_nobodys_business(heard):
    signals.announce()
    heard(0.2)
    add_price(make_draft())
    assert heard() == []


def test_a_rollback_tells_nobody(heard):
    class Undo(Exception):
        pass

    with pytest.raises(Undo), transaction.atomic():
        set_multiplier("123.5")
        raise Undo
    assert heard() == []
    assert price().multiplier == 2


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "", "redis://10.255.255.1:6379/0", "not a url"])
def test_without_redis_an_edit_is_saved_and_served_all_the_same(settings, url):
    settings.REDIS_URL, settings.PRICING_REFRESH_S = url, 60
    cache.reload_pricing_cache()
    started = time.monotonic()
    set_multiplier("2.5")
    assert time.monotonic() - started < 2
    assert price().multiplier == Decimal("2.5")
    assert cache.get_model_multiplier("gpt-4o") == Decimal("2.5")


def test_a_listener_looks_when_told(settings, run_listener):
    settings.PRICING_REFRESH_S = 60
    looks = []
    run_listener(lambda: looks.append(time.monotonic()))
    wait_for(lambda: looks)
    time.sleep(0.4)
    before = len(looks)
    assert bus.publish(pricing_version="v", revision=1) is True
    wait_for(lambda: len(looks) > before, timeout_s=3)


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1/0"])
def test_a_listener_looks_anyway(settings, run_listener, url):
    settings.REDIS_URL, settings.PRICING_REFRESH_S = url, 1
    cache.reload_pricing_cache()
    run_listener(cache.latest)
    set_by_sql("gpt-4o", "2.5")
    # `_served` is looked at directly: `current()` would go and see for itself.
    wait_for(lambda: cache._served.book.models["gpt-4o"].multiplier == Decimal("2.5"), timeout_s=3)


def test_starting_twice_starts_one_thread(settings):
    settings.PRICING_REFRESH_S = 60

    def listeners() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "pricing listener"]

    cache.start_listener()
    cache.start_listener()
    (thread,) = listeners()
    assert thread.daemon
    cache.stop_listener()
    cache.stop_listener()
    assert listeners() == []
    cache.start_listener()
    assert len(listeners()) == 1
    cache.stop_listener()


def test_an_outage_of_redis_is_one_line_and_its_end_another(settings, monkeypatch, run_listener):
    lines = Lines()
    monkeypatch.setattr(listener, "log", lines)
    monkeypatch.setattr(listener, "_NAP_S", 0.01)
    settings.PRICING_REFRESH_S = 1
    attempts, subscribe = [], bus.subscribe

    def flaky():
        attempts.append(1)
        if len(attempts) < 3:
            raise redis.ConnectionError("away")
        return subscribe()

    monkeypatch.setattr(listener.bus, "subscribe", flaky)
    looks = []
    run_listener(lambda: looks.append(1))
    wait_for(lambda: len(attempts) == 3 and len(lines.seen) == 2)
    assert lines.seen == [("warning", "pricing_listener_lost"), ("info", "pricing_listener_regained")]
    assert looks


def test_an_outage_of_the_database_is_one_line_and_its_end_another(settings, monkeypatch, run_listener):
    lines = Lines()
    monkeypatch.setattr(listener, "log", lines)
    monkeypatch.setattr(listener, "_NAP_S", 0.01)
    settings.PRICING_REFRESH_S, settings.REDIS_URL = 0.1, ""
    looks = []

    def flaky() -> None:
        looks.append(1)
        if len(looks) < 3:
            raise OperationalError("away")

    run_listener(flaky)
    wait_for(lambda: len(looks) > 3)
    assert lines.seen == [("warning", "pricing_listener_lost"), ("info", "pricing_listener_regained")]


def test_a_listener_gives_its_connection_back(settings, run_listener):
    settings.PRICING_REFRESH_S = 0.2
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"

    def connections() -> int:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    before, looks = connections(), []

    def look() -> None:
        cache.latest()
        looks.append(connections())

    run_listener(look)
    wait_for(lambda: len(looks) >= 3)
    assert max(looks) == before + 1
    wait_for(lambda: connections() == before)


def test_a_failing_reload_does_not_fail_the_save(monkeypatch, settings):
    settings.PRICING_REFRESH_S = 60
    lines = Lines()
    monkeypatch.setattr(signals, "log", lines)

    def away():
        raise OperationalError("away")

    monkeypatch.setattr(cache, "latest", away)
    set_multiplier("2.5")
    assert price().multiplier == Decimal("2.5")
    assert lines.seen == [("warning", "pricing_reload_failed")]

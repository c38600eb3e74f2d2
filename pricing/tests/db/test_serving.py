"""Which process serves which price: said in Redis, forgotten with those who are gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import redis
from django.conf import settings
from django.db import connection

from pricing import bus, cache, serving
from pricing.tests.makers import SEED, SEED_REVISION

pytestmark = pytest.mark.django_db

OTHER_PROCESS = """
import sys, time
import django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
django.setup()
from pricing import cache
cache.start_listener()
print("started", flush=True)
sys.stdin.readline()
cache.stop_listener()
print("stopped", flush=True)
time.sleep(30)
"""


@pytest.fixture(autouse=True)
def _nobody_has_said_anything():
    bus.client().delete(serving._INDEX)
    yield
    serving.leave()


def wait_for(condition, *, timeout_s: float = 20):
    until = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


def test_a_process_says_what_it_serves_and_takes_it_back():
    serving.report(cache.latest())
    (served,) = serving.processes()
    assert (served.host, served.pid) == (socket.gethostname(), os.getpid())
    assert (served.pricing_version, served.revision) == (SEED, SEED_REVISION)
    assert 0 <= served.age_s < 5
    serving.leave()
    assert serving.processes() == []


def test_its_age_is_the_time_since_it_looked(settings):
    serving.report(cache.latest())
    key = serving._key(socket.gethostname(), os.getpid())
    bus.client().pexpire(key, serving._ttl_ms() - 12_300)
    (served,) = serving.processes()
    assert 12.3 <= served.age_s < 17


def test_who_is_silent_is_forgotten():
    serving.report(cache.latest())
    bus.client().delete(serving._key(socket.gethostname(), os.getpid()))
    assert serving.processes() == []
    assert bus.client().smembers(serving._INDEX) == set()


@pytest.mark.django_db(transaction=True)
def test_another_process_is_listed_while_it_runs():
    arguments = [sys.executable, "-c", OTHER_PROCESS, connection.settings_dict["NAME"]]
    environment = {**os.environ, "REDIS_URL": settings.REDIS_URL}
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout.readline() == "started\n"
            wait_for(lambda: [row.pid for row in serving.processes()] == [process.pid])
            (served,) = serving.processes()
            assert (served.pricing_version, served.revision) == (SEED, SEED_REVISION)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "stopped\n"
            assert serving.processes() == []
        finally:
            process.kill()


def test_without_redis_nobody_can_tell_and_nothing_fails(settings, monkeypatch):
    away = redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2)
    monkeypatch.setattr(serving, "_client", lambda: away)
    serving.report(cache.latest())
    serving.leave()
    assert serving.processes() is None
    settings.REDIS_URL = ""
    serving.report(cache.latest())
    assert serving.processes() is None


def test_an_older_price_is_what_it_says():
    book = cache.latest()
    serving.report(replace(book, revision=book.revision - 1))
    (served,) = serving.processes()
    assert served.revision == SEED_REVISION - 1

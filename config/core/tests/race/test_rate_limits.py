"""Limits on a real Redis: exact within any window, taken in all windows or in none, shared, and open without Redis."""

from __future__ import annotations

import math
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from config.core import rate_limits
from config.core.errors import RateLimited
from config.core.ids import uuid7
from config.core.rate_limits import Limit


@pytest.fixture
def name():
    return f"test:{{{uuid7()}}}"


@pytest.fixture
def server(settings):
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        yield client


@pytest.fixture
def another_redis(settings, monkeypatch):
    """Points this process at another address, and back."""

    def go(url):
        settings.REDIS_URL = url
        forget()

    def forget():
        rate_limits._client.cache_clear()
        rate_limits._script.cache_clear()
        monkeypatch.setattr(rate_limits._Pause, "until", 0.0)

    yield go
    settings.REDIS_URL = None
    forget()


def age(server, limit, seconds):
    """As if what was taken had been taken so much earlier."""
    for member, score in server.zrange(limit.key, 0, -1, withscores=True):
        server.zadd(limit.key, {member: score - seconds * 1_000_000})


def test_no_more_than_the_limit_within_a_window_and_again_after_it(name, server):
    limit = Limit(name, 3, 600)
    for _ in range(3):
        rate_limits.take(limit)
    age(server, limit, 599)
    with pytest.raises(RateLimited) as refused:
        rate_limits.take(limit)
    assert (refused.value.code, refused.value.status) == ("rate_limited", 429)
    age(server, limit, 1)
    rate_limits.take(limit)
    assert server.zcard(limit.key) == 1


@pytest.mark.parametrize(("seconds", "said"), [(1, "a second"), (20, "20 seconds")])
def test_a_refusal_says_how_long_to_wait(seconds, said):
    refusal = RateLimited(retry_after_s=seconds)
    assert refusal.members == {"retry_after_seconds": seconds}
    assert refusal.headers == {"Retry-After": str(seconds)}
    assert refusal.detail == f"Too many requests; please try again in {said}."


def test_the_answer_says_when_the_oldest_place_leaves(name, server):
    limit = Limit(name, 2, 60)
    rate_limits.take(limit)
    rate_limits.take(limit)
    # The older of the two is 40 s old, and a little more.
    oldest, score = server.zrange(limit.key, 0, 0, withscores=True)[0]
    server.zadd(limit.key, {oldest: score - 40_000_000})
    with pytest.raises(RateLimited) as refused:
        rate_limits.take(limit)
    assert 10 < refused.value.members["retry_after_seconds"] <= 20
    assert server.pttl(limit.key) <= 60_000


def test_a_place_is_taken_in_all_windows_or_in_none_and_the_longest_wait_is_told(name, server):
    minute, hour = Limit(name, 5, 60), Limit(name, 2, 3_600)
    rate_limits.take(minute, hour)
    rate_limits.take(minute, hour)
    with pytest.raises(RateLimited) as refused:
        rate_limits.take(minute, hour)
    assert 3_598 <= refused.value.members["retry_after_seconds"] <= 3_600
    assert (server.zcard(minute.key), server.zcard(hour.key)) == (2, 2)


def test_a_refusal_counts_nothing_and_a_place_may_be_given_back(name, server):
    limit = Limit(name, 1, 60)
    ticket = rate_limits.take(limit)
    for _ in range(5):
        with pytest.raises(RateLimited):
            rate_limits.take(limit)
    assert server.zcard(limit.key) == 1
    rate_limits.give_back(ticket)
    rate_limits.give_back(ticket)
    with pytest.raises(ZeroDivisionError), rate_limits.counted(limit):
        math.fmod(1 // 0, 1)
    rate_limits.take(limit)


def test_a_limit_of_zero_is_none(name, server):
    limit = Limit(name, 0, 60)
    for _ in range(50):
        rate_limits.take(limit)
    assert server.exists(limit.key) == 0


def test_others_are_not_concerned(name):
    rate_limits.take(Limit(f"{name}:alice", 1, 60))
    rate_limits.take(Limit(f"{name}:bob", 1, 60))


def test_fifty_at_once_get_exactly_the_limit(name):
    limit = Limit(name, 7, 60)

    def one(_):
        try:
            return rate_limits.take(limit)
        except RateLimited:
            return None

    with ThreadPoolExecutor(16) as threads:
        taken = [ticket for ticket in threads.map(one, range(50)) if ticket]
    assert len(taken) == 7


def test_without_redis_everything_is_allowed_and_health_says_so(name, another_redis, settings):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = f"redis://127.0.0.1:{sock.getsockname()[1]}/0"
    settings.RATE_LIMIT_TURNS_PER_MINUTE = 10
    assert rate_limits.state() == "ok"
    another_redis(nobody)
    limit = Limit(name, 1, 60)
    for _ in range(5):
        rate_limits.give_back(rate_limits.take(limit))
    assert rate_limits.state() == "not_enforced"


def test_a_redis_that_never_answers_is_asked_once_in_a_while(name, another_redis):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        another_redis(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        for _ in range(20):
            rate_limits.take(Limit(name, 1, 60))
        # One of them waited for an answer; all would have for ten seconds.
        assert time.monotonic() - started < 5


def test_health_says_that_all_limits_are_switched_off(settings):
    for setting in (
        "TURNS_PER_MINUTE", "TURNS_PER_HOUR", "COMPLETIONS_PER_MINUTE", "LOGIN_FAILURES",
        "LOGIN_FAILURES_PER_ADDRESS",
    ):  # fmt: skip
        setattr(settings, f"RATE_LIMIT_{setting}", 0)
    assert rate_limits.state() == "off"

"""How often somebody may do something: no more than `limit` times within any `window_s`, over all processes.

Each time is a member of a sorted set in Redis, and one script looks at all windows and takes a place in each, or in
none. No money depends on it: while Redis is away, everything is allowed, and `/health` says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis
import structlog
from django.conf import settings

from config.core.errors import RateLimited
from config.core.ids import uuid7

log = structlog.get_logger(__name__)
MINUTE_S, HOUR_S = 60, 3_600
# Less than what a client notices; and once Redis did not answer it is not asked for a while, so that one that takes
# connections and never answers does not hold up every request.
_SOCKET_TIMEOUT_S = 0.5
_PAUSE_S = 2.0
# Redis' own clock, so that processes whose clocks differ count alike. Microseconds fit a double exactly.
_TAKE = """
local clock = redis.call('TIME')
local now, wait = clock[1] * 1000000 + clock[2], 0
for i, key in ipairs(KEYS) do
    local limit, window = tonumber(ARGV[2 * i]), ARGV[2 * i + 1] * 1000000
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
    local count = redis.call('ZCARD', key)
    if count >= limit then
        local leaves = redis.call('ZRANGE', key, count - limit, count - limit, 'WITHSCORES')[2] + window
        wait = math.max(wait, leaves - now)
    end
end
if wait > 0 then return wait end
for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, string.format('%.0f', now), ARGV[1])
    redis.call('PEXPIRE', key, ARGV[2 * i + 1] * 1000)
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `limit` times within `window_s` for who or what `name` names; a limit of 0 is none."""

    name: str
    limit: int
    window_s: int

    @property
    def key(self) -> str:
        return f"tallyroom:rate:{self.name}:{self.window_s}"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place that was taken in each of these limits; without keys nothing was counted."""

    id: str
    keys: tuple[str, ...] = ()


class _Pause:
    """Until when Redis is not asked. Of one process."""

    until = 0.0


def take(*limits: Limit) -> Ticket:
    """Take a place in each limit, or in none. Raises: RateLimited, with the seconds until there is one in each."""
    ticket = Ticket(str(uuid7()), tuple(one.key for one in limits if one.limit))
    if not ticket.keys:
        return ticket
    numbers = [number for one in limits if one.limit for number in (one.limit, one.window_s)]
    try:
        wait_us = _ask(lambda client: _script()(keys=ticket.keys, args=[ticket.id, *numbers], client=client))
    except redis.RedisError:
        return Ticket(ticket.id)
    if wait_us:
        raise RateLimited(retry_after_s=math.ceil(int(wait_us) / 1_000_000))
    return ticket


def give_back(ticket: Ticket) -> None:
    """For what came to nothing. Idempotent. Where Redis is away the place leaves with its window."""
    if not ticket.keys:
        return

    def remove(client: redis.Redis) -> Any:
        with client.pipeline(transaction=False) as pipeline:
            for key in ticket.keys:
                pipeline.zrem(key, ticket.id)
            return pipeline.execute()

    try:
        _ask(remove)
    except redis.RedisError:
        return


@contextmanager
def counted(*limits: Limit) -> Iterator[Ticket]:
    """Take a place for what happens within; where that raises, it is given back. Raises: RateLimited."""
    ticket = take(*limits)
    try:
        yield ticket
    except BaseException:
        give_back(ticket)
        raise


def state() -> str:
    """For `/health`: `ok`, `off` (by configuration), or `not_enforced`, because Redis is away."""
    numbers = (
        settings.RATE_LIMIT_TURNS_PER_MINUTE,
        settings.RATE_LIMIT_TURNS_PER_HOUR,
        settings.RATE_LIMIT_COMPLETIONS_PER_MINUTE,
        settings.RATE_LIMIT_LOGIN_FAILURES,
        settings.RATE_LIMIT_LOGIN_FAILURES_PER_ADDRESS,
    )
    if not any(numbers):
        return "off"
    if not settings.REDIS_URL:
        return "not_enforced"
    try:
        # Asked whatever happened a moment ago: health says what is true now.
        _client().ping()
    except redis.RedisError:
        return "not_enforced"
    return "ok"


def _ask(question: Any) -> Any:
    """Raises: RedisError, at once where Redis did not answer a moment ago."""
    if not settings.REDIS_URL or time.monotonic() < _Pause.until:
        raise redis.ConnectionError("There is no Redis, or it did not answer a moment ago.")
    try:
        return question(_client())
    except redis.RedisError as error:
        _Pause.until = time.monotonic() + _PAUSE_S
        log.warning("rate_limits_not_enforced", error=str(error))
        raise


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_SOCKET_TIMEOUT_S, socket_connect_timeout=_SOCKET_TIMEOUT_S
    )


@cache
def _script() -> Any:
    return _client().register_script(_TAKE)

"""Who is there.

Redis, and the worker's sign of life in it. Only `/health` looks; nothing that matters depends on it.
"""

from __future__ import annotations

import time
from functools import cache

import redis
from django.conf import settings

_WORKER_KEY = "tallyroom:worker:seen"


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def redis_answers() -> bool:
    if not settings.REDIS_URL:
        return False
    try:
        return bool(_client().ping())
    except redis.RedisError:
        return False


def worker_seen() -> None:
    """Called by each sweep. Without Redis there is no sign, and no harm."""
    if not settings.REDIS_URL:
        return
    try:
        _client().set(_WORKER_KEY, int(time.time()), ex=max(30, settings.SWEEP_INTERVAL_S * 4))
    except redis.RedisError:
        return


def worker_is_there() -> bool | None:
    """None where nobody can tell, because Redis is away."""
    if not settings.REDIS_URL:
        return None
    try:
        return _client().get(_WORKER_KEY) is not None
    except redis.RedisError:
        return None

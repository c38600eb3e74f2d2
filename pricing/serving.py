"""Which price does each process serve? Each says so in Redis, every time it looks; who is silent is forgotten.

For people who look. Nothing depends on it: a turn opens at the stored price whatever its process has in memory, and
what Redis loses is said again within seconds.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from dataclasses import asdict, dataclass
from functools import cache

import redis
import structlog
from django.conf import settings

from pricing import bus
from pricing.price_book import PriceBook

_INDEX = "tallyroom:pricing:processes"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """What a process says of itself. `age_s`: how long ago it compared its prices with the stored ones."""

    host: str
    pid: int
    command: str
    pricing_version: str
    revision: int
    age_s: float = 0.0


def report(book: PriceBook) -> None:
    """Say what this process serves, having just looked. Never fails: without Redis nobody hears of it."""
    if not settings.REDIS_URL:
        return
    said = Served(_host(), os.getpid(), _command(), book.pricing_version, book.revision)
    try:
        with _client().pipeline(transaction=False) as pipe:
            pipe.set(_key(said.host, said.pid), json.dumps(asdict(said)), px=_ttl_ms())
            pipe.sadd(_INDEX, _key(said.host, said.pid))
            pipe.expire(_INDEX, _ttl_ms() // 1000 + 60)
            pipe.execute()
    except (redis.RedisError, OSError, ValueError) as error:
        log.debug("pricing_report_not_sent", error=str(error))


def leave() -> None:
    """This process ends. One that is killed is forgotten by itself."""
    if not settings.REDIS_URL:
        return
    key = _key(_host(), os.getpid())
    try:
        with _client().pipeline(transaction=False) as pipe:
            pipe.delete(key)
            pipe.srem(_INDEX, key)
            pipe.execute()
    except (redis.RedisError, OSError, ValueError) as error:
        log.debug("pricing_report_not_taken_back", error=str(error))


def processes() -> list[Served] | None:
    """All that have said something lately, by host and pid. None where nobody can tell, because Redis is away.

    The age is reckoned by Redis's clock, so those of the machines need not agree.
    """
    if not settings.REDIS_URL:
        return None
    try:
        keys = sorted(name.decode() for name in _client().smembers(_INDEX) if isinstance(name, bytes))
        with _client().pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(key)
                pipe.pttl(key)
            answers = pipe.execute()
        gone = [key for key, text in zip(keys, answers[::2], strict=True) if text is None]
        if gone:
            _client().srem(_INDEX, *gone)
    except (redis.RedisError, OSError, ValueError) as error:
        log.warning("pricing_reports_not_read", error=str(error))
        return None
    return sorted(
        (_said(text, left_ms) for text, left_ms in zip(answers[::2], answers[1::2], strict=True) if text is not None),
        key=lambda served: (served.host, served.pid),
    )


def _said(text: bytes, left_ms: int) -> Served:
    age_s = max(0.0, (_ttl_ms() - left_ms) / 1000)
    return Served(**json.loads(text) | {"age_s": round(age_s, 1)})


def _ttl_ms() -> int:
    """Several missed looks: a process that is busy is not gone."""
    return max(30_000, math.ceil(settings.PRICING_REFRESH_S * 4_000))


def _key(host: str, pid: int) -> str:
    return f"tallyroom:pricing:serves:{host}:{pid}"


@cache
def _client() -> redis.Redis:
    return bus.client()


@cache
def _host() -> str:
    return socket.gethostname()


def _command() -> str:
    """`uvicorn` or `celery`, to tell a web process from a worker."""
    path = sys.argv[0] if sys.argv else ""
    name = os.path.basename(path)  # noqa: PTH119 - a path that may be empty
    return os.path.basename(os.path.dirname(path)) if name == "__main__.py" else name or "python"  # noqa: PTH119, PTH120

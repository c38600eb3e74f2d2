"""Redis as the messenger between processes: "prices have changed, look". It carries no price.

Nothing depends on it: a process that hears nothing finds out by itself within PRICING_REFRESH_S.
"""

from __future__ import annotations

import json

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.retry import Retry

CHANNEL = "tallyroom:pricing"
# Short, and no retries: somebody's save waits for it.
TIMEOUT_S = 0.5

log = structlog.get_logger(__name__)


def client() -> redis.Redis:
    """A client of its own connections. Raises: ValueError for a URL that is none."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


def publish(*, pricing_version: str, revision: int) -> bool:
    """Tell all processes to look. Never fails the caller: False where nobody could be told."""
    if not settings.REDIS_URL:
        return False
    message = json.dumps({"pricing_version": pricing_version, "revision": revision})
    try:
        with client() as messenger:
            messenger.publish(CHANNEL, message)
    except (redis.RedisError, OSError, ValueError) as error:
        log.warning("pricing_message_not_sent", error=str(error))
        return False
    return True


def subscribe() -> PubSub:
    """Listen on the channel. Raises: RedisError, OSError, ValueError."""
    subscription: PubSub = client().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    subscription.subscribe(CHANNEL)
    return subscription

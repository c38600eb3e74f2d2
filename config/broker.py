"""How Celery speaks to Redis: kombu's transport, mended where the end of Redis was the end of the worker.

Both mends are for kombu 5.7.0, whose channels look for their connection after it is gone; of the AttributeError the
worker dies. Nothing is lost by them: the row of a queued turn is its outbox, everything else is on a schedule, and a
message that was not acknowledged is delivered again after the visibility timeout.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(redis.Channel):
    """A channel that closes, and is acknowledged to once it has closed, without its connection."""

    # Closing it puts nothing back into the queue: the connection through which to do so may be what it closes for.
    do_restore = False

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Raises what the worker expects of a lost connection, which it logs, where a task ends after its channel."""
        if client is None and self.closed:
            raise RedisConnectionError("the channel of this message is closed")
        with super().conn_or_acquire(client) as acquired:
            yield acquired


class Transport(redis.Transport):
    """kombu's Redis transport with that channel."""

    Channel = Channel


def encryption(url: str) -> dict[str, ssl.VerifyMode] | None:
    """Certificates are checked unless the URL says otherwise, as redis-py does; kombu's own default does not."""
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parse_qs(parts.query):
        return None
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED}


def register() -> None:
    """For both schemes: kombu tells by the name of the transport, too, whether to encrypt."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))

"""The message by which a process hears at once that a turn of its own is to end. Lost messages are only slower."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog
from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from sessions_app.turns.event_store import STORE_ERRORS

log = structlog.get_logger(__name__)
_CHANNEL = "tallyroom:turns:cancel"
_TIMEOUT_S = 1.0
_LONGEST_BACKOFF_S = 5.0
# After so long without a message the connection is asked whether it is there, and has as long again to answer.
_SILENCE_S = 15.0


async def say_cancel(turn_id: UUID) -> None:
    """Tell all processes. Without Redis the runner's next heartbeat reads it from the turn."""
    client: Redis = _client()
    try:
        await client.publish(_CHANNEL, str(turn_id))
    except STORE_ERRORS as error:
        log.warning("cancel_not_published", turn_id=str(turn_id), error=str(error))
    finally:
        await client.aclose()


async def hear_cancels(hear: Callable[[UUID], None]) -> None:
    """Call `hear` for every message, until this is cancelled. Connects again whenever the connection is lost."""
    failures = 0
    while True:
        client = _client()
        try:
            async with client.pubsub() as messages:
                await messages.subscribe(_CHANNEL)
                failures = 0
                await _listen(messages, hear)
        except STORE_ERRORS as error:
            failures += 1
            if failures == 1:
                log.warning("cancel_channel_lost", error=str(error))
        finally:
            await client.aclose()
        await asyncio.sleep(min(_LONGEST_BACKOFF_S, 0.1 * 2 ** min(failures, 10)))


async def _listen(messages: PubSub, hear: Callable[[UUID], None]) -> None:
    """Until the connection is lost, also one that died without a word. Raises: STORE_ERRORS."""
    asked = False
    while True:
        message = await messages.get_message(timeout=_SILENCE_S)
        if message is not None:
            # Also one that is no cancel: an answer shows that somebody is there.
            asked = False
            _pass_on(message.get("data"), hear)
        elif asked:
            raise TimeoutError("the connection does not answer")
        else:
            asked = True
            await messages.ping()


def _pass_on(data: object, hear: Callable[[UUID], None]) -> None:
    try:
        turn_id = UUID(str(data))
    except ValueError:
        return
    hear(turn_id)


def _client() -> Redis:
    return Redis.from_url(
        settings.REDIS_URL, decode_responses=True, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
    )

"""How many turns and completions a user may begin, by any route and at all web processes together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from django.conf import settings

from config.core import idempotency, rate_limits
from config.core.errors import RateLimited
from config.core.idempotency import Claim
from config.core.rate_limits import HOUR_S, MINUTE_S, Limit

T = TypeVar("T")


def turn_limits(user_id: UUID) -> list[Limit]:
    # Braces: where Redis is a cluster, the windows of a user lie together.
    name = f"turns:{{{user_id}}}"
    return [
        Limit(name, settings.RATE_LIMIT_TURNS_PER_MINUTE, MINUTE_S),
        Limit(name, settings.RATE_LIMIT_TURNS_PER_HOUR, HOUR_S),
    ]


def completion_limits(user_id: UUID) -> list[Limit]:
    return [Limit(f"completions:{{{user_id}}}", settings.RATE_LIMIT_COMPLETIONS_PER_MINUTE, MINUTE_S)]


def limited(open_: Callable[[], T], *, claim: Claim | None, limits: list[Limit], is_new: Callable[[T], bool]) -> T:
    """Open something within these limits.

    Only what is made counts: a refusal gives its place back, and so does a replay, which finds its first outcome also
    where there is no place left.

    Raises: RateLimited, and what `open_` raises.
    """
    try:
        ticket = rate_limits.take(*limits)
    except RateLimited:
        if idempotency.find(claim) is None:
            raise
        return open_()
    try:
        opened = open_()
    except BaseException:
        rate_limits.give_back(ticket)
        raise
    if not is_new(opened):
        rate_limits.give_back(ticket)
    return opened

"""Spending limits in the money path: what counts towards one, and whether it is reached. Under the wallet's lock.

A limit caps what is charged for its subject in the current day or month of its own time zone. What running work holds
for that subject counts as if it were spent, so that two at once cannot pass it together. A refund gives nothing back to
a limit: it caps what is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from billing.errors import SpendingLimitReached
from billing.ledger.states import Limit, OpenHold, Place, Share
from config.core.money import ZERO


def period_of(period: str, tz: str, now: datetime) -> tuple[datetime, datetime]:
    """Begin (included) and end (excluded) of the day or month of `tz` that `now` is in, in UTC."""
    local = now.astimezone(ZoneInfo(tz)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "month":
        begin = local.replace(day=1)
        end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    else:
        begin = local
        end = datetime.fromordinal(local.toordinal() + 1).replace(tzinfo=local.tzinfo)
    return begin.astimezone(UTC), end.astimezone(UTC)


def spent_by(limit: Limit, now: datetime) -> Decimal:
    """What counts in the period that `now` is in."""
    begin, _ = period_of(limit.period, limit.tz, now)
    return limit.spent if limit.period_start >= begin else ZERO


def is_about(limit: Limit, *, user_id: UUID, agent_id: UUID | None, place: Place) -> bool:
    subject = {"user": user_id, "room": place.room_id, "agent": agent_id, "api_key": place.api_key_id}[limit.subject]
    return subject == limit.subject_id


def ensure_within(
    limits: Iterable[Limit], *, user_id: UUID, shares: Sequence[Share], place: Place, others: Sequence[OpenHold],
    now: datetime,
) -> None:  # fmt: skip
    """Raises: SpendingLimitReached for the first limit that a hold made of `shares` would pass."""
    for limit in limits:
        wanted = total_about(limit, shares, user_id=user_id, place=place)
        if wanted == 0:
            continue
        spent = spent_by(limit, now)
        held = sum((total_about(limit, hold.shares, user_id=user_id, place=hold.place) for hold in others), ZERO)
        if spent + held + wanted > limit.amount:
            _, resets_at = period_of(limit.period, limit.tz, now)
            raise SpendingLimitReached(limit=limit, spent=spent, held=held, required=wanted, resets_at=resets_at)


def total_about(limit: Limit, shares: Iterable[Share], *, user_id: UUID, place: Place) -> Decimal:
    """What of these shares concerns the limit's subject."""
    return sum(
        (share.amount for share in shares if is_about(limit, user_id=user_id, agent_id=share.agent_id, place=place)),
        ZERO,
    )

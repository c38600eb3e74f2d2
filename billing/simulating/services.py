"""The simulation itself: the last days' events, priced by a version, and who would have felt it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.utils import timezone

from billing.simulating.history import read_calls
from billing.simulating.tally import Coverage, Sums, Tally
from pricing.price_book import PriceBook

DEFAULT_DAYS = 30
MOST_DAYS = 366
TOP_USERS = 10
# Calls between two reports of progress.
CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class UserSums:
    """`email` is empty for a user who is no more."""

    user_id: UUID
    email: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Simulation:
    """`totals`, `by_alias` and `top_users` compare like with like: calls whose alias the version has."""

    pricing_version: str
    revision: int
    days: int
    start: datetime
    end: datetime
    totals: Sums
    by_alias: list[tuple[str, Sums]]
    top_users: list[UserSums]
    without_price: list[tuple[str, Sums]]
    coverage: Coverage


def last_days(days: int) -> tuple[datetime, datetime]:
    """The days of 24 hours that end now."""
    end = timezone.now()
    return end - timedelta(days=days), end


def simulate(
    book: PriceBook, *, days: int, start: datetime, end: datetime, progress: Callable[[int], object] | None = None
) -> Simulation:
    """Price every call that was settled in [start, end) by the book. Holds no lock and writes nothing.

    `progress` is told how many calls were read since it was told last.
    """
    tally, unsaid = Tally(book), 0
    for call in read_calls(start=start, end=end):
        tally.add(call)
        unsaid += 1
        if progress is not None and unsaid == CHUNK:
            progress(unsaid)
            unsaid = 0
    tally.finish()
    if progress is not None:
        progress(unsaid)
    return Simulation(
        pricing_version=book.pricing_version,
        revision=book.revision,
        days=days,
        start=start,
        end=end,
        totals=tally.totals,
        by_alias=_hardest_first(tally.by_alias),
        top_users=_top_users(tally.by_user),
        without_price=sorted(tally.without_price.items()),
        coverage=tally.coverage,
    )


def _hardest_first(sums: dict[str, Sums]) -> list[tuple[str, Sums]]:
    return sorted(sums.items(), key=lambda item: (-item[1].difference, item[0]))


def _top_users(by_user: dict[str, Sums]) -> list[UserSums]:
    """Those who would have paid more, by how much more."""
    hit = [(user_id, sums) for user_id, sums in _hardest_first(by_user)[:TOP_USERS] if sums.difference > 0]
    rows: Any = get_user_model().objects.filter(pk__in=[user_id for user_id, _ in hit])
    emails = dict(rows.values_list("pk", "email"))
    return [UserSums(UUID(user_id), emails.get(UUID(user_id), ""), sums) for user_id, sums in hit]

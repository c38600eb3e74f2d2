"""The simulation itself: the last days' events, priced by a version, and who would have felt it.

Day by day, so that who waits can be told between two, and no statement sorts more than a day. All calls of a piece of
work are settled at one time, so none is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
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
    book: PriceBook,
    *,
    days: int,
    start: datetime,
    end: datetime,
    progress: Callable[[int], object] = lambda _: None,
    between_days: Callable[[], object] = lambda: None,
) -> Simulation:
    """Price every call that was settled in [start, end) by the book. Holds no lock and writes nothing.

    `progress` is told how many calls were read since it was told last; it must leave the connection alone, which is
    busy. `between_days` may use it.
    """
    tally = Tally(book)
    for begins, ends in _days(start, end):
        unsaid = 0
        # Closed, where `progress` raises: else the connection would be busy for as long as the error is held.
        with closing(read_calls(start=begins, end=ends)) as calls:
            for call in calls:
                tally.add(call)
                unsaid += 1
                if unsaid == CHUNK:
                    progress(unsaid)
                    unsaid = 0
        progress(unsaid)
        between_days()
    tally.finish()
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


def _days(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        next_one = min(start + timedelta(days=1), end)
        yield start, next_one
        start = next_one


def _hardest_first(sums: dict[str, Sums]) -> list[tuple[str, Sums]]:
    return sorted(sums.items(), key=lambda item: (-item[1].difference, item[0]))


def _top_users(by_user: dict[str, Sums]) -> list[UserSums]:
    """Those who would have paid more, by how much more."""
    hit = [(user_id, sums) for user_id, sums in _hardest_first(by_user)[:TOP_USERS] if sums.difference > 0]
    return with_emails([(UUID(user_id), sums) for user_id, sums in hit])


def with_emails(users: list[tuple[UUID, Sums]]) -> list[UserSums]:
    rows: Any = get_user_model().objects.filter(pk__in=[user_id for user_id, _ in users])
    emails = dict(rows.values_list("pk", "email"))
    return [UserSums(user_id, emails.get(user_id, ""), sums) for user_id, sums in users]

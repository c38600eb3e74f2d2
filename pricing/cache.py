"""The prices that this process serves: one immutable snapshot of the active version, swapped whole.

It is kept fresh in three ways: by this process's own saves (`pricing.signals`), by messages of other processes
(`pricing.listener`), and, so that a lost message heals, by comparing the stored revision at most every
PRICING_REFRESH_S. Opening a turn relies on none of them: it reads version and revision in a statement that it runs
anyway, and `matching` serves exactly that pair.

No lock is held across a query: a thread that waits for a pooled connection must not keep others waiting who hold one.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from threading import Lock
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper

from pricing import serving
from pricing.errors import NoActiveVersion
from pricing.history import book_at, book_of
from pricing.listener import Listener
from pricing.price_book import PriceBook

UNKNOWN_ALIAS_MULTIPLIER = Decimal("1.0")

# `age(xmin)` counts from the reader's own transaction, where it has one: 0 or less is a change that the reader itself
# has made and may still roll back, or one made since.
_STAMP = """
SELECT r.id, age(v.xmin) > 0 {snapshot}
  FROM pricing_versions v JOIN pricing_revisions r ON r.pricing_version = v.version AND r.revision = v.revision
 WHERE v.status = 'active'
"""
_STAMP_ONLY = _STAMP.format(snapshot="")
_STAMP_AND_SNAPSHOT = _STAMP.format(snapshot=", r.snapshot")


@dataclass(frozen=True, slots=True)
class _Served:
    """A book, which revision row it is from, and when it was last known to be the active one.

    A pair of version and revision names one book for ever, once it is committed. Before that, a rollback can give the
    pair away again: a book that is not `committed` is never trusted without a look at the row's id.
    """

    book: PriceBook
    recorded_as: UUID
    committed: bool
    looked_at: float

    def is_exactly(self, pricing_version: str, revision: int) -> bool:
        return self.book.revision == revision and self.book.pricing_version == pricing_version


_served: _Served | None = None
_swapping = Lock()


def current() -> PriceBook:
    """The active prices, at most PRICING_REFRESH_S old. One small query when a look is due, else none.

    Raises: OperationalError when the database is away, NoActiveVersion.
    """
    served = _served
    if served and served.committed and time.monotonic() - served.looked_at < settings.PRICING_REFRESH_S:
        return served.book
    return latest()


def latest() -> PriceBook:
    """The active prices as they are now: one small query, and one more where they have changed. Raises as `current`."""
    return _look().book


def matching(pricing_version: str, revision: int) -> PriceBook:
    """Exactly the book of this pair, which the caller has just read from the database. Mostly without a query.

    Raises: OperationalError, UnknownPriceRevision for a pair that never was.
    """
    served = _served
    if served and served.committed and served.is_exactly(pricing_version, revision):
        return served.book
    served = _look()
    if served.is_exactly(pricing_version, revision):
        return served.book
    # The active prices have moved on between the caller's read and ours.
    return book_at(pricing_version, revision)


def reload_pricing_cache() -> PriceBook:
    """Read the active prices anew and serve them from now on. Raises as `current`."""
    return _load().book


def get_model_multiplier(model_alias: str) -> Decimal:
    """The alias's multiplier; 1.0 for an unknown one, for callers outside the turn path. Raises as `current`."""
    price = current().find(model_alias)
    return UNKNOWN_ALIAS_MULTIPLIER if price is None else price.multiplier


def snapshot_age_s() -> float:
    """Seconds since the snapshot was last known to be the active one; infinite before the first look."""
    served = _served
    return math.inf if served is None else time.monotonic() - served.looked_at


def _look() -> _Served:
    """Compare the stored revision with ours, and load it where it is another."""
    started = time.monotonic()
    with connection.cursor() as cursor:
        recorded_as, committed = _active_row(cursor, _STAMP_ONLY)
    served = _served
    if served is None or served.recorded_as != recorded_as:
        return _load()
    return _swap(replace(served, committed=committed, looked_at=started))


def _load() -> _Served:
    """Read stamp and snapshot in one statement, so that the book is of one moment."""
    started = time.monotonic()
    with connection.cursor() as cursor:
        recorded_as, committed, snapshot = _active_row(cursor, _STAMP_AND_SNAPSHOT)
    return _swap(_Served(book_of(json.loads(snapshot)), recorded_as, committed, started))


def _active_row(cursor: CursorWrapper, sql: str) -> tuple[Any, ...]:
    cursor.execute(sql)
    row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        raise NoActiveVersion
    return row


def _swap(found: _Served) -> _Served:
    """Serve what was found, unless a look that began later has found something already."""
    global _served  # noqa: PLW0603 - the one thing that this module is about
    with _swapping:
        if _served is None or _served.looked_at <= found.looked_at:
            _served = found
    return found


def _look_and_report() -> None:
    serving.report(latest())


_listener = Listener(_look_and_report)
start_listener = _listener.start


def stop_listener() -> None:
    """Idempotent. The process is taken off the list of those that serve prices."""
    _listener.stop()
    serving.leave()

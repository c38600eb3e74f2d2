"""How the history is made: piece by piece, so that it shows how far it is and no transaction grows large."""

from __future__ import annotations

import random
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db import connection, transaction
from tqdm import tqdm

from config.embedded.big_history import statements
from config.embedded.big_history.calls import KINDS_PER_ALIAS, rated_calls
from pricing import cache

DAYS = 90
# A visit has 2.5 turns and a turn 2.5 calls, on average.
EVENTS_PER_VISIT = 6.25
USERS_AT_ONCE = 10_000
SEED = 1


def make(*, events: int, users: int, now: datetime, with_ledgers: bool = True) -> int:
    """Fill a database that has no users yet; returns how many events came of it, about as many as were asked for.

    Ledgers take most of the time. Without them nobody has a wallet: enough for what reads events alone.
    """
    ledgers = range(1, users + 1, USERS_AT_ONCE) if with_ledgers else ()
    midnight = datetime.combine(now.astimezone(UTC).date(), time.min, UTC)
    start = midnight - timedelta(days=DAYS - 1)
    book = cache.current()
    kinds = list(rated_calls(random.Random(SEED)))
    values: dict[str, Any] = {
        "users": users, "start": start, "now": now, "kinds": KINDS_PER_ALIAS, "aliases": len(kinds) // KINDS_PER_ALIAS,
        "version": book.pricing_version, "revision": book.revision,
    }  # fmt: skip
    with _Bar(DAYS + len(ledgers) + 1) as bar:
        _work_tables(kinds, values)
        bar.update()
        share = _shares(start)
        for ago, day in enumerate(start + timedelta(days=n) for n in range(DAYS)):
            visits = round(events / EVENTS_PER_VISIT * share[ago])
            _run(statements.DAY_OF_TURNS + statements.DAY_OF_EVENTS, {**values, "day": day, "visits": visits})
            bar.update()
        if with_ledgers:
            _run(statements.LOTS)
        for first in ledgers:
            _run(statements.SOME_LEDGERS, {**values, "first": first, "last": min(first + USERS_AT_ONCE - 1, users)})
            bar.update()
    _run(statements.DONE)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT count(*) FROM llm_call_events")
        return int(cursor.fetchone()[0])


class _Bar(tqdm):  # type: ignore[misc]
    def __init__(self, steps: int) -> None:
        super().__init__(total=steps, desc="seed-big", unit=" steps", mininterval=1)


def _shares(start: datetime) -> list[float]:
    """Each day's share of the visits: slow growth, and less at weekends."""
    weights = [
        (1 + day / DAYS) * (0.55 if (start + timedelta(days=day)).weekday() >= 5 else 1.0) for day in range(DAYS)
    ]  # fmt: skip
    return [weight / sum(weights) for weight in weights]


def _work_tables(kinds: list[tuple[Any, ...]], values: dict[str, Any]) -> None:
    _run(statements.WORK_TABLES, values)
    with transaction.atomic(), connection.cursor() as cursor, cursor.copy(statements.KINDS) as copy:
        for row in kinds:
            copy.write_row(row)
    _run(statements.PEOPLE_AND_ROOMS, values)


def _run(script: str, values: dict[str, Any] | None = None) -> None:
    """One transaction, without the triggers."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("SET LOCAL work_mem = '256MB'")
        cursor.execute(script, values)

"""Is what was rolled up what the events come to? Day by day, to the last place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection
from django.utils import timezone

from billing.models import UsageRollupState
from billing.rollup.charges import ALL_ALIASES, CHARGES, COLUMNS, FIRST_SINCE, SUMS
from billing.rollup.rolling import EVER, month_of, rolled_up_to
from config.core.transactions import snapshot

# Each night: later than that nothing changes a closed day but somebody's hand.
LOOK_BACK_DAYS = 31
_KEYS = "user_id, room_id, agent_id, model_alias, purpose"
_EVENTS = "created_at >= %(start)s AND created_at < %(until)s"
_ROLLED = "start >= %(start)s AND start < %(until)s"


def _differing(one: str, other: str) -> str:
    """How many rows are in one and not in the other."""
    return f"SELECT count(*) FROM ((({one}) EXCEPT ({other})) UNION ALL (({other}) EXCEPT ({one}))) d"  # noqa: S608


def _sums(keys: str, source: str, where: str) -> str:
    return f"SELECT {keys}, {SUMS} FROM {source} WHERE {where} GROUP BY {keys}"  # noqa: S608 - constants only


_DAY = {
    "usage_rollups": _differing(_sums(_KEYS, CHARGES, _EVENTS), _sums(_KEYS, "usage_rollups", _ROLLED)),
    "usage_rollup_totals": _differing(
        _sums("model_alias, purpose", CHARGES, _EVENTS), _sums("model_alias, purpose", "usage_rollup_totals", _ROLLED)
    ),
    "usage_rollup_activity": _differing(
        f"SELECT DISTINCT start, user_id FROM usage_rollups WHERE {_ROLLED}",  # noqa: S608 - constants only
        f"SELECT start, user_id FROM usage_rollup_activity WHERE {_ROLLED}",  # noqa: S608 - constants only
    ),
}
_MONTH = _differing(
    " UNION ALL ".join(
        f"SELECT '{subject}' AS subject, {subject}_id AS subject_id, user_id, {alias} AS model_alias, {SUMS}"  # noqa: S608
        f" FROM usage_rollups WHERE {_ROLLED} AND {subject}_id IS NOT NULL GROUP BY 1, 2, 3, 4"
        for subject in ("user", "room", "agent")
        for alias in ("model_alias", f"'{ALL_ALIASES}'")
    ),
    f"SELECT subject, subject_id, user_id, model_alias, {COLUMNS} FROM usage_rollup_months WHERE start = %(start)s",  # noqa: S608
)


def differing_tables(day: date) -> list[str]:
    """The rollup's tables in which a UTC day that is rolled up is not what its events come to.

    On the last day of a month its sums by user, room and agent are held against those by quarter, too.
    """
    start = datetime.combine(day, time.min, UTC)
    until = start + timedelta(days=1)
    with snapshot(), connection.cursor() as cursor:
        tables = []
        for table, statement in _DAY.items():
            cursor.execute(statement, {"start": start, "until": until})
            if cursor.fetchone()[0]:
                tables.append(table)
        if until == month_of(until):
            cursor.execute(_MONTH, {"start": month_of(start), "until": until})
            if cursor.fetchone()[0]:
                tables.append("usage_rollup_months")
    return tables


def rolled_days(*, last: int | None = LOOK_BACK_DAYS) -> list[date]:
    """Days that are rolled up to their end, oldest first; None for all of them."""
    until = rolled_up_to()
    first = _first_day()
    if until is None or first is None:
        return []
    newest = until.astimezone(UTC).date() - timedelta(days=1)
    oldest = first if last is None else max(first, newest - timedelta(days=last - 1))
    return [oldest + timedelta(days=n) for n in range((newest - oldest).days + 1)]


def check(days: Iterable[date]) -> Iterator[tuple[date, list[str]]]:
    """Each day with the tables that differ; at the end it is recorded how many days did."""
    checked = differing = 0
    for day in days:
        tables = differing_tables(day)
        checked += 1
        differing += bool(tables)
        yield day, tables
    UsageRollupState.objects.update(checked_at=timezone.now(), days_checked=checked, days_differing=differing)


def _first_day() -> date | None:
    """Of the events, not of the rollup: a day of which nothing was rolled up is a difference."""
    with connection.cursor() as cursor:
        cursor.execute(FIRST_SINCE, {"since": EVER})
        (first,) = cursor.fetchone()
    return first.astimezone(UTC).date() if first else None

"""Roll closed quarters of an hour up, batch by batch.

Each batch is one transaction that writes the sums of [rolled_up_to, until) and moves `rolled_up_to`. Whoever reads both
in one snapshot sees each event once: in a sum, or, from `rolled_up_to` on, as itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from billing import closing
from billing.rollup.charges import ALL_ALIASES, CHARGES, COLUMNS, SUMS

QUARTER = timedelta(minutes=15)
# What one transaction reads at most while it catches up. None goes across midnight.
BATCH = timedelta(hours=6)
_EVER = datetime(1, 1, 2, tzinfo=UTC)
_QUARTER_OF = "to_timestamp(floor(extract(epoch FROM created_at) / %(quarter_s)s) * %(quarter_s)s)"
_STATE = "INSERT INTO usage_rollup_state (singleton) VALUES (true) ON CONFLICT DO NOTHING"
# Of two at once the second finds nothing to do.
_LOCK = "SELECT rolled_up_to FROM usage_rollup_state FOR UPDATE SKIP LOCKED"
# What CHARGES reads, each for itself: of both together PostgreSQL reads every row to find the first one.
_NEXT = """
SELECT LEAST((SELECT min(created_at) FROM llm_call_events WHERE created_at >= %(since)s),
             (SELECT min(created_at) FROM tool_call_events WHERE credits_charged > 0 AND created_at >= %(since)s))"""
_BATCH = f"""
INSERT INTO usage_rollups (start, user_id, room_id, agent_id, model_alias, purpose, {COLUMNS})
SELECT {_QUARTER_OF} AS start, user_id, room_id, agent_id, model_alias, purpose, {SUMS}
  FROM {CHARGES} WHERE created_at >= %(start)s AND created_at < %(until)s
 GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2;
INSERT INTO usage_rollup_totals (start, model_alias, purpose, {COLUMNS}, calls_without_debit)
SELECT start, model_alias, purpose, {SUMS}, 0
  FROM usage_rollups WHERE start >= %(start)s AND start < %(until)s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
UPDATE usage_rollup_totals t SET calls_without_debit = c.calls
  FROM (SELECT {_QUARTER_OF} AS start, model_alias, purpose, count(*) AS calls FROM {CHARGES}
         WHERE created_at >= %(start)s AND created_at < %(until)s AND credits_charged > 0
           AND NOT EXISTS (SELECT 1 FROM credit_transactions d WHERE d.event_id = charges.event_id)
         GROUP BY 1, 2, 3) c
 WHERE t.start = c.start AND t.model_alias = c.model_alias AND t.purpose = c.purpose;
INSERT INTO usage_rollup_activity (start, user_id, seen_before)
SELECT q.start, q.user_id, COALESCE(
           lag(q.start) OVER (PARTITION BY q.user_id ORDER BY q.start),
           (SELECT a.start FROM usage_rollup_activity a WHERE a.user_id = q.user_id AND a.start < %(start)s
             ORDER BY a.start DESC LIMIT 1))
  FROM (SELECT DISTINCT start, user_id FROM usage_rollups WHERE start >= %(start)s AND start < %(until)s) q
 ORDER BY q.start;
"""  # noqa: S608 - constants only
_OLD_MONTH = "DELETE FROM usage_rollup_months WHERE start = %(month)s;"
_MONTH = "".join(
    f"""
INSERT INTO usage_rollup_months (start, subject, subject_id, user_id, model_alias, {COLUMNS})
SELECT %(month)s, '{subject}', {subject}_id, user_id, COALESCE(model_alias, '{ALL_ALIASES}'), {SUMS} FROM usage_rollups
 WHERE start >= %(month)s AND start < %(until)s AND {subject}_id IS NOT NULL
 GROUP BY GROUPING SETS (({subject}_id, user_id), ({subject}_id, user_id, model_alias));
"""  # noqa: S608 - constants only
    for subject in ("user", "room", "agent")
)
_MOVE = "UPDATE usage_rollup_state SET rolled_up_to = %(until)s"
_MOVE_MONTHS = "UPDATE usage_rollup_state SET months_up_to = %(until)s"
_FORGET = """
DELETE FROM usage_rollups WHERE start >= %(since)s;
DELETE FROM usage_rollup_totals WHERE start >= %(since)s;
DELETE FROM usage_rollup_activity WHERE start >= %(since)s;
DELETE FROM usage_rollup_months WHERE start >= %(month)s;
UPDATE usage_rollup_state SET rolled_up_to = %(since)s, months_up_to = LEAST(months_up_to, %(month)s);
"""


def roll_up(now: datetime, *, progress: Callable[[timedelta], Any] = lambda _: None) -> int:
    """Roll up all that is over; returns how many batches were written. `progress` is told how long a time each was of.

    Locks:       the state's row, for a batch; no money row.
    Idempotent:  yes. Safe to run twice at once: whoever comes second leaves it to the first. What was interrupted goes
                 on after the last batch that was committed.
    """
    batches = 0
    while (done := roll_up_batch(now)) is not None:
        progress(done)
        batches += 1
    return batches


def roll_up_batch(now: datetime) -> timedelta | None:
    """One transaction. None where nothing is due, where it is not over yet, or where somebody else is at it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_STATE)
        cursor.execute(_LOCK)
        row = cursor.fetchone()
        start = row and (row[0] or _next_event(_EVER))
        if start is None:
            return None
        limit = quarter_of(now - timedelta(seconds=closing.MARGIN_S))
        until = _end_of_batch(start, limit)
        # Asked first, and the sums made by later statements: those see what was committed until then.
        if until <= start or not closing.is_over(until):
            return None
        cursor.execute(_BATCH, {"start": start, "until": until, "quarter_s": _quarter_s()})
        cursor.execute(_MOVE, {"until": until})
        if until in (month_of(until), day_of(limit)):
            month = {"month": month_of(until - QUARTER), "until": until}
            cursor.execute(_OLD_MONTH + _MONTH + _MOVE_MONTHS, month)
        return until - start


def forget(since: datetime) -> None:
    """Take back what was rolled up from a quarter on: reports read events there, until it is done anew.

    By DELETE and not TRUNCATE, which a reader's older snapshot would see at once.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT rolled_up_to > %s FROM usage_rollup_state FOR UPDATE", [quarter_of(since)])
        row = cursor.fetchone()
        if row and row[0]:
            cursor.execute(_FORGET, {"since": quarter_of(since), "month": month_of(since)})


def rolled_up_to() -> datetime | None:
    """Up to where sums stand for events. Read in the snapshot in which they are read, too."""
    return _state()[0]


def months_up_to() -> datetime | None:
    """Up to where the sums by month do; at most as far as the others."""
    return _state()[1]


def _state() -> tuple[datetime | None, datetime | None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolled_up_to, months_up_to FROM usage_rollup_state")
        rolled, months = cursor.fetchone() or (None, None)
    return rolled, months


def first_unrolled() -> datetime | None:
    """Where the next batch begins; None where there is no event yet."""
    return rolled_up_to() or _next_event(_EVER)


def quarter_of(time: datetime) -> datetime:
    """The quarter of an hour that a time lies in, by its beginning."""
    midnight = day_of(time)
    return midnight + (time - midnight) // QUARTER * QUARTER


def day_of(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def month_of(time: datetime) -> datetime:
    return day_of(time).replace(day=1)


def _end_of_batch(start: datetime, limit: datetime) -> datetime:
    """At most the length of one, within a day, and within what is over. A time without events is passed at once."""
    found = _next_event(start)
    if found is None or found > start:
        return min(found or limit, limit, month_of(month_of(start) + timedelta(days=32)))
    return min(start + BATCH, limit, day_of(start) + timedelta(days=1))


def _quarter_s() -> Decimal:
    return Decimal(str(QUARTER.total_seconds()))


def _next_event(since: datetime) -> datetime | None:
    """The quarter of the first event at or after a time."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, {"since": since})
        time = cursor.fetchone()[0]
    return None if time is None else quarter_of(time)

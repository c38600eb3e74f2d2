"""When is a time over? Not when the clock has passed it: a transaction that began before it may still commit.

An event or entry gets its time under its wallet's lock and is seen when its transaction commits. What is in between is
waits for locks (3 s each) and for a silent process (10 s), so minutes are far beyond it, and a clock that was set back
a little is covered too. That no older transaction is open any more is asked as well; of other roles' transactions
PostgreSQL tells only who may read its statistics, so for them the margin stands alone.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection

MARGIN_S = 300
# A transaction that has written has an id; one without it has no entry's time yet and will get a later one.
_IS_OVER = """
SELECT clock_timestamp() >= %(time)s + make_interval(secs => %(margin_s)s)
   AND NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                      AND backend_xid IS NOT NULL AND xact_start < %(time)s)"""


def is_over(time: datetime) -> bool:
    """Has everything that carries a time before this one been committed, so that the next statement sees it?"""
    with connection.cursor() as cursor:
        cursor.execute(_IS_OVER, {"time": time, "margin_s": MARGIN_S})
        return bool(cursor.fetchone()[0])

"""The calls of a stretch of time, streamed out of one statement: in little memory, each piece of work whole.

What is settled never changes, so a stretch that is over reads the same at any time.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import connection

from billing.invariants.reading import rows
from billing.models import LLMCallEvent, ToolCallEvent
from pricing.rating import TokenPools

# All events of a piece of work (a turn, or a direct call) are written at one time, so they come one after another. What
# the wallet held before a debit is exact, whatever else the settling transaction posted. OFFSET 0, so that a debit is
# looked up by its event: else a day's events would be joined by reading all entries that there ever were.
_CALLS = """
SELECT c.work_id, c.user_id, c.model_alias, c.tool_name, c.fresh, c.cached, c.written, c.output, c.credits_charged,
       t.balance_after - t.amount
  FROM (SELECT COALESCE(e.turn_id, e.id) AS work_id, e.id, e.user_id, e.model_alias, '' AS tool_name,
               e.input_tokens_fresh AS fresh, e.input_tokens_cached AS cached, e.input_tokens_cache_write AS written,
               e.output_tokens AS output, e.credits_charged, e.created_at
          FROM llm_call_events e WHERE e.created_at >= %(start)s AND e.created_at < %(end)s
         UNION ALL
        SELECT e.turn_id, e.id, e.user_id, '', e.tool_name, 0, 0, 0, 0, e.credits_charged, e.created_at
          FROM tool_call_events e
         WHERE e.status = 'success' AND e.created_at >= %(start)s AND e.created_at < %(end)s) c
  LEFT JOIN LATERAL (
       SELECT balance_after, amount FROM credit_transactions
        WHERE event_id = c.id AND kind = 'debit' OFFSET 0) t ON true
 ORDER BY c.created_at, c.work_id"""


class PastCall(NamedTuple):
    """One call as it was billed: of a model, or, where it has a `tool_name`, of a tool that did what it was asked for.

    `balance_before`: the wallet's at its debit; None for a call that cost nothing.
    """

    work_id: str
    user_id: str
    model_alias: str
    pools: TokenPools
    credits_charged: Decimal
    balance_before: Decimal | None
    tool_name: str = ""


# Counts no further than it needs to.
_ANY_MORE = """
SELECT count(*) > %(most)s FROM (
       (SELECT 1 FROM llm_call_events WHERE created_at >= %(start)s AND created_at < %(end)s LIMIT %(most)s + 1)
        UNION ALL
       (SELECT 1 FROM tool_call_events
         WHERE status = 'success' AND created_at >= %(start)s AND created_at < %(end)s LIMIT %(most)s + 1)) c"""


def has_more_calls_than(most: int, *, start: datetime, end: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_ANY_MORE, {"most": most, "start": start, "end": end})
        return bool(cursor.fetchone()[0])


def count_calls(*, start: datetime, end: datetime) -> int:
    within = {"created_at__gte": start, "created_at__lt": end}
    return (
        LLMCallEvent.objects.filter(**within).count() + ToolCallEvent.objects.filter(**within, status="success").count()
    )


def read_calls(*, start: datetime, end: datetime) -> Generator[PastCall]:
    """Calls settled in [start, end), by piece of work."""
    for work, user, alias, tool, fresh, cached, written, output, charged, before in rows(
        _CALLS, {"start": start, "end": end}
    ):
        pools = TokenPools(int(fresh), int(cached), int(written), int(output))
        balance = None if before is None else Decimal(before)
        yield PastCall(work, user, alias, pools, Decimal(charged), balance, tool)

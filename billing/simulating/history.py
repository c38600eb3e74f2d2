"""The calls of a stretch of time, streamed out of one statement: one moment's view, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from billing.invariants.reading import rows
from billing.models import LLMCallEvent
from pricing.rating import TokenPools

# All events of a piece of work (a turn, or a direct call) are written at one time, so they come one after another. What
# the wallet held before a debit is exact, whatever else the settling transaction posted.
_CALLS = """
SELECT COALESCE(e.turn_id, e.id), e.user_id, e.model_alias, e.input_tokens_fresh, e.input_tokens_cached,
       e.input_tokens_cache_write, e.output_tokens, e.credits_charged, t.balance_after - t.amount
  FROM llm_call_events e LEFT JOIN credit_transactions t ON t.event_id = e.id AND t.kind = 'debit'
 WHERE e.created_at >= %(start)s AND e.created_at < %(end)s
 ORDER BY e.created_at, 1, e.call_index"""


class PastCall(NamedTuple):
    """One call as it was billed. `balance_before`: the wallet's at its debit; None for a call that cost nothing."""

    work_id: str
    user_id: str
    model_alias: str
    pools: TokenPools
    credits_charged: Decimal
    balance_before: Decimal | None


def count_calls(*, start: datetime, end: datetime) -> int:
    return LLMCallEvent.objects.filter(created_at__gte=start, created_at__lt=end).count()


def read_calls(*, start: datetime, end: datetime) -> Iterator[PastCall]:
    """Calls settled in [start, end), by piece of work."""
    for work, user, alias, fresh, cached, written, output, charged, before in rows(
        _CALLS, {"start": start, "end": end}
    ):
        pools = TokenPools(int(fresh), int(cached), int(written), int(output))
        balance = None if before is None else Decimal(before)
        yield PastCall(work, user, alias, pools, Decimal(charged), balance)

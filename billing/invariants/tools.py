"""L3 and L6 for calls of tools: each event against its debit, and against the price of its tool."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from billing.invariants.events import Prices, at_known_prices, compare_debit
from billing.invariants.findings import Findings, Head
from billing.invariants.reading import Row
from config.core.money import ledger_text, usage_text
from pricing.price_book import PriceBook
from pricing.rating import rate_tool

_EVENTS = """
SELECT s.wallet_id, e.user_id, e.id, e.pricing_version, e.pricing_revision, e.tool_name, e.status, e.credits_burned,
       e.credits_charged, t.seq, t.id, t.amount
  FROM unnest(%(wallets)s::uuid[], %(users)s::uuid[], %(events_from)s::timestamptz[]) AS s(wallet_id, user_id, since)
  JOIN tool_call_events e ON e.user_id = s.user_id AND e.created_at >= s.since
  LEFT JOIN credit_transactions t ON t.event_id = e.id AND t.kind = 'debit'"""


def check_tools(heads: Sequence[Head], found: Findings, prices: Prices) -> None:
    for row in at_known_prices(_EVENTS, heads, prices):
        name = compare_debit(row, found, charged=row[8], debit=(row[9], row[10], row[11]))
        problem = _recomputed_otherwise(row, prices.books[row[3], row[4]])
        if problem:
            found.add("L6", UUID(row[0]), UUID(row[1]), f"{name}: {problem}")


def _recomputed_otherwise(row: Row, book: PriceBook | None) -> str | None:
    if book is None:
        return f"its price version {row[3]} revision {row[4]} is not on record"
    rated = rate_tool(status=row[6], credits_per_call=book.tool_price(row[5]))
    if (Decimal(row[7]), Decimal(row[8])) != (rated.credits_burned, rated.credits_charged):
        return (
            f"stored {row[7]} and {row[8]} credits; a call of {row[5]} that ended as {row[6]} costs "
            f"{usage_text(rated.credits_burned)} and {ledger_text(rated.credits_charged)}"
        )
    return None

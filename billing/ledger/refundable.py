"""What may be refunded: read under the wallet's lock."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from billing.ledger.posting import burning_order
from billing.ledger.states import Lot, Reference, WalletState
from billing.locks import LOT_SQL, lot_of
from config.core.jsonb import decoded


class Paid(NamedTuple):
    """A lot that paid for what is refunded, and the most of it that may go back there."""

    lot: Lot
    most: Decimal
    voided_at: datetime | None

    def is_open(self, now: datetime) -> bool:
        """Whether it can take credits: neither expired nor voided."""
        return self.voided_at is None and (self.lot.expires_at is None or self.lot.expires_at > now)


class Refundable(NamedTuple):
    """What is left to refund, and the lots that it came from, the one burnt last first."""

    left: Decimal
    paid: list[Paid]


# Work is what its debits have as their reference: a turn, a completion. A refund names one debit or the work; it counts
# against both. A lot gets back no more than it paid, less what was given back to it: of the debit, and of the work.
_READ_REFUNDABLE = f"""
WITH target AS (
    SELECT id, reference_type, reference_id, amount FROM credit_transactions
     WHERE wallet_id = %(wallet_id)s AND kind = 'debit'
       AND CASE WHEN %(type)s = 'entry' THEN id = %(reference_id)s
                ELSE reference_id = %(reference_id)s AND reference_type = %(type)s END
), work AS (
    SELECT t.id, t.amount FROM credit_transactions t WHERE t.wallet_id = %(wallet_id)s AND t.kind = 'debit'
       AND t.reference_id IN (SELECT reference_id FROM target)
), refunds AS (
    SELECT r.id, r.amount, r.reference_id IN (SELECT id FROM target) OR %(type)s <> 'entry' AS of_target
      FROM credit_transactions r WHERE r.wallet_id = %(wallet_id)s AND r.kind = 'refund'
       AND r.reference_id IN (SELECT id FROM work UNION SELECT reference_id FROM target)
), moved AS (
    -- 0 and not null where a lot paid nothing of the target: LEAST passes over nulls.
    SELECT a.grant_id, COALESCE(SUM(a.amount) FILTER (WHERE e.of_target), 0) AS of_target, SUM(a.amount) AS of_work
      FROM (SELECT id, id IN (SELECT id FROM target) AS of_target FROM work
            UNION ALL SELECT id, of_target FROM refunds) e
      JOIN credit_allocations a ON a.entry_id = e.id GROUP BY a.grant_id
)
SELECT (SELECT LEAST((SELECT -SUM(amount) FROM target) - COALESCE(SUM(amount) FILTER (WHERE of_target), 0),
                     (SELECT -SUM(amount) FROM work) - COALESCE(SUM(amount), 0)) FROM refunds)::text,
       (SELECT jsonb_agg(jsonb_build_array(
                  {LOT_SQL},
                  LEAST(m.of_target, m.of_work)::text, g.voided_at))
          FROM moved m JOIN credit_grants g ON g.id = m.grant_id WHERE LEAST(m.of_target, m.of_work) > 0)
"""  # noqa: S608 - constants only


def read_refundable(wallet: WalletState, reference: Reference) -> Refundable | None:
    """What may be refunded of a debit (`entry`) or of a piece of work. None where this wallet has no such debit.

    Who refunds holds the wallet's lock.
    """
    parameters: dict[str, Any] = {"wallet_id": wallet.id, "type": reference.type, "reference_id": reference.id}
    with connection.cursor() as cursor:
        cursor.execute(_READ_REFUNDABLE, parameters)
        left, paid = cursor.fetchone()
    if left is None:
        return None
    lots = [Paid(lot_of(lot), Decimal(most), _time(voided)) for lot, most, voided in decoded(paid) or []]
    lots.sort(key=lambda item: burning_order(item.lot), reverse=True)
    return Refundable(Decimal(left), lots)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

"""The only place where money rows are locked. Order: turn → wallet → hold → lots → entries; one wallet a transaction.

The wallet's lock covers its holds, lots and entries: whoever changes one of those holds it. Nothing that the lock
protects is read in the locking statement: under READ COMMITTED its snapshot is older than the lock.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from billing.ledger.states import HoldState, Lot, Reference, WalletState
from config.core.jsonb import decoded
from config.core.transactions import patience_sql


class Holdings(NamedTuple):
    """What a wallet's lock protects, read after the lock was won, with the database's clock at that moment."""

    now: datetime
    lots: list[Lot]
    hold: HoldState | None


_LOCK = """
    SELECT id, user_id, balance, held, last_seq, last_hash, next_expiry_at
      FROM credit_wallets WHERE user_id = %s AND {patience} FOR NO KEY UPDATE
"""

_READ = """
    SELECT clock_timestamp(),
           (SELECT jsonb_agg(jsonb_build_array(g.id, g.remaining::text, g.priority, g.expires_at, g.created_at))
              FROM credit_grants g WHERE g.user_id = %(user_id)s AND g.remaining > 0),
           (SELECT jsonb_build_array(h.id, h.amount::text, h.status, h.charged::text, h.balance_after::text)
              FROM credit_holds h WHERE h.reference_type = %(type)s AND h.reference_id = %(reference_id)s)
"""


def lock_wallet(user_id: UUID) -> WalletState | None:
    """Lock a user's wallet for the rest of the transaction.

    None where there is none yet. Waits at most the lock timeout.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOCK.format(patience=patience_sql()), [user_id])
        row = cursor.fetchone()
    return None if row is None else WalletState(*row)


def read_holdings(wallet: WalletState, reference: Reference | None) -> Holdings:
    """The lots and the hold of a wallet whose lock is held, in one statement."""
    parameters = {
        "user_id": wallet.user_id,
        "type": reference.type if reference else None,
        "reference_id": reference.id if reference else None,
    }
    with connection.cursor() as cursor:
        cursor.execute(_READ, parameters)
        now, lots, hold = cursor.fetchone()
    return Holdings(now, [_lot(item) for item in decoded(lots) or []], _hold(decoded(hold)))


def _lot(item: Any) -> Lot:
    id_, remaining, priority, expires_at, created_at = item
    return Lot(
        UUID(id_),
        Decimal(remaining),
        priority,
        datetime.fromisoformat(expires_at) if expires_at else None,
        datetime.fromisoformat(created_at),
    )


def _hold(item: Any) -> HoldState | None:
    if item is None:
        return None
    id_, amount, status, charged, balance_after = item
    return HoldState(UUID(id_), Decimal(amount), status, _decimal(charged), _decimal(balance_after))


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)

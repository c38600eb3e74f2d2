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

from billing.ledger.states import HoldState, Limit, Lot, OpenHold, Place, Reference, Share, WalletState
from config.core.jsonb import decoded
from config.core.transactions import patience_sql


class Holdings(NamedTuple):
    """What a wallet's lock protects, read after the lock was won, with the database's clock at that moment."""

    now: datetime
    lots: list[Lot]
    hold: HoldState | None


_WALLET = """
    SELECT id, user_id, balance, held, last_seq, last_hash, next_expiry_at, has_scoped_lots,
           has_limits
      FROM credit_wallets WHERE user_id = %s
"""
_LOCK = f"{_WALLET} AND {{patience}} FOR NO KEY UPDATE"

LOT_SQL = "jsonb_build_array(g.id, g.remaining::text, g.priority, g.expires_at, g.created_at, g.aliases)"
_READ = f"""
    SELECT clock_timestamp(),
           (SELECT jsonb_agg({LOT_SQL})
              FROM credit_grants g WHERE g.user_id = %(user_id)s AND g.remaining > 0),
           (SELECT jsonb_build_array(h.id, h.amount::text, h.status, h.charged::text, h.balance_after::text,
                                   h.room_id, h.api_key_id)
              FROM credit_holds h WHERE h.reference_type = %(type)s AND h.reference_id = %(reference_id)s)
"""  # noqa: S608 - constants only


def lock_wallet(user_id: UUID) -> WalletState | None:
    """Lock a user's wallet for the rest of the transaction.

    None where there is none yet. Waits at most the lock timeout.
    """
    return _wallet(_LOCK.format(patience=patience_sql()), user_id)


def read_wallet(user_id: UUID) -> WalletState | None:
    """A user's wallet to look at: not locked, so nothing may be decided by it."""
    return _wallet(_WALLET, user_id)


def _wallet(sql: str, user_id: UUID) -> WalletState | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, [user_id])
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
    return Holdings(now, [lot_of(item) for item in decoded(lots) or []], _hold(decoded(hold)))


class Claims(NamedTuple):
    """What else is reserved of a wallet and what caps it, read after its lock was won."""

    others: list[OpenHold]
    limits: list[Limit]


_READ_CLAIMS = """
    SELECT (SELECT jsonb_agg(jsonb_build_array(h.shares, h.room_id, h.api_key_id) ORDER BY h.id)
              FROM credit_holds h WHERE h.wallet_id = %(wallet_id)s AND h.status = 'open'
               AND NOT (h.reference_type = %(type)s AND h.reference_id = %(reference_id)s)),
           (SELECT jsonb_agg(jsonb_build_array(l.id, l.subject, l.subject_id, l.period, l.amount::text, l.tz,
                                               l.spent::text, l.period_start) ORDER BY l.id)
              FROM spending_limits l WHERE l.user_id = %(user_id)s)
"""


def read_claims(wallet: WalletState, reference: Reference) -> Claims:
    """The open holds of a wallet whose lock is held, but for the reference's own, and its limits, in one statement."""
    parameters: dict[str, Any] = {
        "wallet_id": wallet.id,
        "user_id": wallet.user_id,
        "type": reference.type,
        "reference_id": reference.id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_READ_CLAIMS, parameters)
        others, limits = cursor.fetchone()
    return Claims(
        [_open_hold(item) for item in decoded(others) or []], [_limit(item) for item in decoded(limits) or []]
    )


def lot_of(item: Any) -> Lot:
    """A lot as `LOT_SQL` gives it."""
    id_, remaining, priority, expires_at, created_at, aliases = item
    return Lot(
        UUID(id_),
        Decimal(remaining),
        priority,
        datetime.fromisoformat(expires_at) if expires_at else None,
        datetime.fromisoformat(created_at),
        tuple(aliases),
    )


def _hold(item: Any) -> HoldState | None:
    if item is None:
        return None
    id_, amount, status, charged, balance_after, room_id, api_key_id = item
    place = Place(_uuid(room_id), _uuid(api_key_id))
    return HoldState(UUID(id_), Decimal(amount), status, _decimal(charged), _decimal(balance_after), place)


def _open_hold(item: Any) -> OpenHold:
    shares, room_id, api_key_id = item
    return OpenHold(
        tuple(Share(alias, Decimal(amount), _uuid(agent_id)) for alias, agent_id, amount in shares),
        Place(_uuid(room_id), _uuid(api_key_id)),
    )


def _limit(item: Any) -> Limit:
    id_, subject, subject_id, period, amount, tz, spent, period_start = item
    start = datetime.fromisoformat(period_start)
    return Limit(UUID(id_), subject, UUID(subject_id), period, Decimal(amount), tz, Decimal(spent), start)


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)

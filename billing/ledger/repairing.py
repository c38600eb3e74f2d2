"""Holds that nobody will close any more, and a `held` that is not their sum. No credits move: the balance stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from billing.locks import lock_wallet
from config.core.money import ZERO
from config.core.transactions import joined_atomic

# Of a reference: type and id.
Work = tuple[str, UUID]
_OPEN = """
SELECT id, reference_type, reference_id, amount, expires_at < clock_timestamp() - make_interval(secs => %s)
  FROM credit_holds WHERE wallet_id = %s AND status = 'open' ORDER BY id"""
_CLOSE = """
UPDATE credit_holds SET status = 'expired', charged = 0, balance_after = %s, closed_at = clock_timestamp()
 WHERE id = ANY(%s) AND status = 'open'"""
_HELD = "UPDATE credit_wallets SET held = %s, updated_at = clock_timestamp() WHERE id = %s"


class OpenHold(NamedTuple):
    id: UUID
    reference_type: str
    reference_id: UUID
    amount: Decimal
    is_late: bool


class HoldRepair(NamedTuple):
    """What was done to one wallet, credits at 8 places."""

    wallet_id: UUID
    user_id: UUID
    closed: list[OpenHold]
    held_before: Decimal
    held_after: Decimal


def repair_holds(*, user_id: UUID, over: Callable[[Iterable[Work]], set[Work]], grace_s: float) -> HoldRepair | None:
    """Expire open holds past their time whose work is over, and set `held` to the sum of those that stay open.

    `over` says of which work that is so. A settlement writes the end of the work and of its hold in one transaction,
    under this lock; so once the lock is won, work that has ended and left its hold open will never close it.

    Units:       credits at 8 places.
    Locks:       the wallet row.
    Idempotent:  yes; None where there is nothing to repair.
    Keeps:       L2, L8.
    Raises:      IntegrityError at the commit where the wallet breaks another invariant, too.
    """
    with joined_atomic():
        wallet = lock_wallet(user_id)
        if wallet is None:
            return None
        with connection.cursor() as cursor:
            cursor.execute(_OPEN, [grace_s, wallet.id])
            holds = [OpenHold(*row) for row in cursor.fetchall()]
            late = [hold for hold in holds if hold.is_late]
            ended = over((hold.reference_type, hold.reference_id) for hold in late)
            closed = [hold for hold in late if (hold.reference_type, hold.reference_id) in ended]
            held = sum((hold.amount for hold in holds if hold not in closed), ZERO)
            if not closed and held == wallet.held:
                return None
            cursor.execute(_CLOSE, [wallet.balance, [hold.id for hold in closed]])
            cursor.execute(_HELD, [held, wallet.id])
        return HoldRepair(wallet.id, wallet.user_id, closed, wallet.held, held)

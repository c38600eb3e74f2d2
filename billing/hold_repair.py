"""Repair of holds for all wallets: what `check_ledger --repair-holds` runs."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection

from billing import references
from billing.ledger.repairing import HoldRepair, repair_holds
from config.core.transactions import retrying

BATCH = 500
_SUSPECTS = """
SELECT w.id, w.user_id FROM credit_wallets w LEFT JOIN LATERAL (
       SELECT SUM(h.amount) AS total,
              bool_or(h.expires_at < clock_timestamp() - make_interval(secs => %(grace_s)s)) AS has_late
         FROM credit_holds h WHERE h.wallet_id = w.id AND h.status = 'open') o ON true
 WHERE (o.has_late OR w.held <> COALESCE(o.total, 0))
   AND (%(user_id)s::uuid IS NULL OR w.user_id = %(user_id)s) AND (%(last)s::uuid IS NULL OR w.id > %(last)s)
 ORDER BY w.id LIMIT %(limit)s"""


def repair_all_holds(*, user_id: UUID | None = None) -> Iterator[HoldRepair | tuple[UUID, str]]:
    """One transaction a wallet, and what each came to: the repair, or the user and why it could not be made.

    Holds late by less than a sweep are left to the sweeper, which may just be about to settle them. Idempotent.
    """
    last: UUID | None = None
    while True:
        parameters = {"user_id": user_id, "last": last, "limit": BATCH, "grace_s": settings.SWEEP_INTERVAL_S}
        with connection.cursor() as cursor:
            cursor.execute(_SUSPECTS, parameters)
            wallets = cursor.fetchall()
        for wallet_id, owner in wallets:
            last = wallet_id
            outcome = _repaired(owner)
            if outcome is not None:
                yield outcome
        if len(wallets) < BATCH:
            return


def _repaired(user_id: UUID) -> HoldRepair | tuple[UUID, str] | None:
    try:
        return retrying(lambda: repair_holds(user_id=user_id, over=references.over, grace_s=settings.SWEEP_INTERVAL_S))
    except DatabaseError as error:
        # Held by somebody for too long, or broken in other ways, which the triggers refuse to commit over.
        return user_id, str(error).splitlines()[0]

"""What was charged, counted towards the user's spending limits (L11): in the settling transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from billing.ledger.limits import period_of, spent_by, total_about
from billing.ledger.states import Place, Reference, Share, WalletState
from billing.locks import read_claims


def count(wallet: WalletState, reference: Reference, *, charges: Sequence[Share], place: Place, now: datetime) -> None:
    """Add what was charged, for each agent, to the limits that it is about.

    Locks:       none; the caller holds the wallet's, under which alone limits are counted.
    Idempotent:  no: once a settlement.
    Keeps:       L11.
    """
    for limit in read_claims(wallet, reference).limits:
        charged = total_about(limit, charges, user_id=wallet.user_id, place=place)
        if charged > 0:
            begin, _ = period_of(limit.period, limit.tz, now)
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE spending_limits SET spent = %s, period_start = %s WHERE id = %s",
                    [spent_by(limit, now) + charged, max(begin, limit.period_start), limit.id],
                )

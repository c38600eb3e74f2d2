"""What calls were charged, counted towards their user's spending limits (L11): in the settling transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from billing.ledger.limits import is_about, period_of, spent_by
from billing.ledger.states import MeteredCall, Place, Reference, WalletState
from billing.locks import read_claims
from config.core.money import ZERO


def count(
    wallet: WalletState, reference: Reference, *, calls: Sequence[MeteredCall], place: Place, now: datetime
) -> None:
    """Add what `calls` were charged to the limits that they are about.

    Locks:       none; the caller holds the wallet's, under which alone limits are counted.
    Idempotent:  no: once a settlement.
    Keeps:       L11.
    """
    for limit in read_claims(wallet, reference).limits:
        charged = sum(
            (
                call.rated.credits_charged
                for call in calls
                if is_about(limit, user_id=wallet.user_id, agent_id=call.agent_id, place=place)
            ),
            ZERO,
        )
        if charged > 0:
            begin, _ = period_of(limit.period, limit.tz, now)
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE spending_limits SET spent = %s, period_start = %s WHERE id = %s",
                    [spent_by(limit, now) + charged, max(begin, limit.period_start), limit.id],
                )

"""A balance that crosses a line downwards, seen where credits move and written with them.

The ledger calls this under the wallet's lock, so that of many settlements at once exactly one crosses; and in its own
transaction, so that what is rolled back alerts nobody and what is committed always does, whatever dies next.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection

from billing.alerts import metrics
from billing.alerts.announcing import announce
from config.core.ids import uuid7
from config.core.money import ZERO
from config.core.transactions import after_commit

if TYPE_CHECKING:
    from billing.ledger.posting import Posting

LOW_BALANCE, BALANCE_EMPTY = "low_balance", "balance_empty"

_INSERT = """
INSERT INTO alerts (id, user_id, kind, seq, balance, threshold, created_at)
SELECT a.id, %(user_id)s, a.kind, %(seq)s, %(balance)s,
       CASE a.kind WHEN 'low_balance' THEN %(threshold)s::numeric END, %(now)s
  FROM unnest(%(ids)s::uuid[], %(kinds)s::text[]) AS a(id, kind)
"""


def crossed(before: Decimal, after: Decimal, *, threshold: Decimal) -> list[str]:
    """Which lines lie between two balances. Only downwards: a balance that rises has recovered.

    Units:       credits.
    """
    kinds = []
    if before >= threshold > after:
        kinds.append(LOW_BALANCE)
    if before > ZERO >= after:
        kinds.append(BALANCE_EMPTY)
    return kinds


def record_crossings(posting: Posting) -> None:
    """Write an alert for each line that this posting crossed; no statement where it crossed none.

    Locks:       none of its own; the wallet's lock is held.
    Idempotent:  on (user, seq, kind): a constraint, as a posting is written once.
    """
    kinds = crossed(posting.wallet.balance, posting.balance, threshold=settings.LOW_BALANCE_THRESHOLD)
    if not kinds:
        return
    parameters: dict[str, Any] = {
        "ids": [uuid7() for _ in kinds],
        "kinds": kinds,
        "user_id": posting.wallet.user_id,
        "seq": posting.seq,
        "balance": posting.balance,
        "threshold": settings.LOW_BALANCE_THRESHOLD,
        "now": posting.now,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, parameters)
    after_commit(metrics.alerted, *kinds)
    after_commit(announce)

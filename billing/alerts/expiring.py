"""Lots that will expire soon: what the beat looks for, once an hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from billing.alerts import metrics
from billing.alerts.announcing import announce
from billing.models import Alert, CreditWallet
from config.core.ids import uuid7

BATCH = 500

_LOTS = """
SELECT g.id FROM credit_grants g
 WHERE g.user_id = ANY(%s) AND g.remaining > 0
   AND g.expires_at > statement_timestamp() AND g.expires_at <= statement_timestamp() + make_interval(days => %s)
   AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.grant_id = g.id)
"""
_INSERT = """
INSERT INTO alerts (id, user_id, kind, grant_id, balance, expires_at, remaining, created_at)
SELECT n.id, g.user_id, 'credits_expiring', g.id, w.balance, g.expires_at, g.remaining, statement_timestamp()
  FROM unnest(%s::uuid[], %s::uuid[]) AS n(id, grant_id)
  JOIN credit_grants g ON g.id = n.grant_id
  JOIN credit_wallets w ON w.user_id = g.user_id
ON CONFLICT DO NOTHING
"""


def find_expiring() -> int:
    """Alert of each lot with something left that expires within ALERT_EXPIRING_DAYS; returns how many are new.

    Found by the wallets' next expiry, which has an index; the lots of a wallet that expire later come with it.

    Locks:       none: a lot that is burnt in this moment is told of as it was.
    Idempotent:  on the lot, for ever; safe to run twice at once.
    """
    found = 0
    last: UUID | None = None
    while True:
        soon = Now() + timedelta(days=settings.ALERT_EXPIRING_DAYS)
        wallets = CreditWallet.objects.filter(next_expiry_at__lte=soon).order_by("id")
        page = list((wallets.filter(id__gt=last) if last else wallets).values_list("id", "user_id")[:BATCH])
        if page:
            last = page[-1][0]
            found += _alert([user_id for _, user_id in page])
        if len(page) < BATCH:
            break
    if found:
        metrics.alerted(*[Alert.Kind.CREDITS_EXPIRING.value] * found)
        announce()
    return found


def _alert(user_ids: Sequence[UUID]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_LOTS, [list(user_ids), settings.ALERT_EXPIRING_DAYS])
        lots = [id_ for (id_,) in cursor.fetchall()]
        if not lots:
            return 0
        cursor.execute(_INSERT, [[uuid7() for _ in lots], lots])
        return int(cursor.rowcount)

"""Expiry of grants for all wallets: what the beat runs."""

from __future__ import annotations

from typing import NamedTuple

import structlog
from django.db import OperationalError
from django.db.models.functions import Now

from billing.ledger import expire_lots
from billing.models import CreditWallet
from config.core.transactions import CONTENDED_SQLSTATES, retrying, sqlstate

log = structlog.get_logger(__name__)
BATCH = 500


class Expired(NamedTuple):
    """`busy`: wallets that others held for too long. They are still due, and the next run finds them."""

    wallets: int
    entries: int
    busy: int


def expire_due() -> Expired:
    """Post what is due, one transaction a wallet. Idempotent; safe to run twice at once.

    A wallet that is busy keeps no other one from its expiry.
    """
    wallets = entries = busy = 0
    last = None
    while True:
        due = CreditWallet.objects.filter(next_expiry_at__lte=Now()).order_by("id")
        page = list((due.filter(id__gt=last) if last else due).values_list("id", "user_id")[:BATCH])
        for wallet_id, user_id in page:
            last = wallet_id
            try:
                posted = retrying(lambda user_id=user_id: expire_lots(user_id=user_id))  # type: ignore[misc]
            except OperationalError as error:
                if sqlstate(error) not in CONTENDED_SQLSTATES:
                    raise
                log.warning("expiry_put_off", wallet_id=str(wallet_id))
                busy += 1
                continue
            entries += posted
            wallets += bool(posted)
        if len(page) < BATCH:
            return Expired(wallets, entries, busy)

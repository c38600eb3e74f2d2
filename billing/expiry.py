"""Expiry of grants for all wallets: what the beat runs."""

from __future__ import annotations

from django.db.models.functions import Now

from billing.ledger import expire_lots
from billing.models import CreditWallet
from config.core.transactions import retrying

BATCH = 500


def expire_due() -> tuple[int, int]:
    """Post what is due, one transaction a wallet; returns (wallets, entries). Idempotent; safe to run twice at once."""
    wallets = entries = 0
    last = None
    while True:
        due = CreditWallet.objects.filter(next_expiry_at__lte=Now()).order_by("id")
        page = list((due.filter(id__gt=last) if last else due).values_list("id", "user_id")[:BATCH])
        for wallet_id, user_id in page:
            last = wallet_id
            posted = retrying(lambda user_id=user_id: expire_lots(user_id=user_id))  # type: ignore[misc]
            entries += posted
            wallets += bool(posted)
        if len(page) < BATCH:
            return wallets, entries

"""Credits that people give, and the expiry of what was given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import IntegrityError

from billing.ledger.posting import Posting
from billing.ledger.states import EntryKind, NewLot, Reference
from billing.ledger.wallets import get_or_create_wallet
from billing.ledger.writing import write
from billing.locks import lock_wallet, read_holdings
from config.core.errors import ValidationFailed
from config.core.ids import uuid7
from config.core.transactions import joined_atomic


def grant(
    *,
    user_id: UUID,
    amount: Decimal,
    reason: str,
    initiated_by: str,
    kind: str = "promo",
    priority: int = 50,
    expires_at: datetime | None = None,
    campaign: str = "",
    aliases: Sequence[str] = (),
    idempotency_key: str | None = None,
) -> UUID:
    """Add a lot of credits; returns the id of its entry. A lot of kind `purchase` is a `top_up` entry.

    `aliases`: what the lot may pay for; empty for everything.

    Units:       credits, > 0, 8 places.
    Locks:       the wallet row.
    Idempotent:  a beta grant on (user, campaign) where a campaign is named; otherwise the caller's idempotency key.
    Keeps:       L1, L9, L10.
    Raises:      ValidationFailed: out of range, or this campaign's beta grant exists already.
    """
    lot = NewLot(uuid7(), kind, amount, priority, expires_at, campaign, tuple(dict.fromkeys(aliases)))
    try:
        with joined_atomic():
            wallet = get_or_create_wallet(user_id=user_id)
            now, lots, _ = read_holdings(wallet, None)
            posting = Posting(wallet=wallet, lots=lots, now=now)
            entry_kind: EntryKind = "top_up" if kind == "purchase" else "grant"
            entry = posting.credit(lot, kind=entry_kind, reference=Reference("grant", lot.id), reason=reason,
                                   initiated_by=initiated_by, idempotency_key=idempotency_key)  # fmt: skip
            write(posting)
            return entry.id
    except IntegrityError as error:
        if "grant_once_per_campaign" in str(error):
            raise ValidationFailed(
                "This user has this campaign's beta grant already.", field="campaign", error_code="unique"
            ) from None
        raise


def expire_lots(*, user_id: UUID) -> int:
    """Post what has expired of one wallet; returns the number of entries. What open holds reserve waits for them.

    Locks:       the wallet row.
    Idempotent:  yes: what has left cannot leave again.
    Keeps:       L1, L9, L10.
    """
    with joined_atomic():
        wallet = lock_wallet(user_id)
        if wallet is None:
            return 0
        now, lots, _ = read_holdings(wallet, None)
        posting = Posting(wallet=wallet, lots=lots, now=now)
        entries = posting.expire()
        if entries:
            write(posting)
        return len(entries)

"""Settling a completion: transaction 2. Its row, its event and its debit, together or not at all."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from billing import ledger
from billing.ledger import MeteredCall, Reference, Settlement
from config.core.transactions import joined_atomic, retrying
from pricing.price_book import PriceBook
from sessions_app.completions import rows
from sessions_app.completions.opening import RESOURCE


def settle_completion(
    *,
    id_: UUID,
    user_id: UUID,
    claim: UUID,
    book: PriceBook,
    call: MeteredCall,
    status: str,
    answer: dict[str, Any] | None = None,
) -> Settlement | None:
    """End the completion and bill its call. None when it is no longer ours: nothing is written.

    `answer` is kept for whoever asks again with the same key.

    Locks:       completion → wallet.
    Idempotent:  fenced by (completion, claim): a try after a commit that we did not hear of gives its outcome.
    Keeps:       L1–L3, L6, L9, L10.
    Raises:      OperationalError when the database is away or stays contended; nothing is written then.
    """

    def unit() -> Settlement | None:
        with joined_atomic():
            if not rows.end(id_=id_, claim=claim, status=status, answer=answer):
                return None
            return ledger.settle(
                user_id=user_id,
                reference=Reference(RESOURCE, id_),
                calls=[call],
                pricing_version=book.pricing_version,
                pricing_revision=book.revision,
            )

    return retrying(unit)

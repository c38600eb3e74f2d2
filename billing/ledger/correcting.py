"""Credits that people correct: adjustments, refunds, voided grants. A correction is a new entry; nothing is changed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from billing.errors import NothingToVoid, RefundExceedsDebit
from billing.ledger.posting import Posting
from billing.ledger.refundable import Refundable, read_refundable
from billing.ledger.states import NewLot, Reference
from billing.ledger.wallets import get_or_create_wallet
from billing.ledger.writing import write
from billing.locks import read_holdings
from config.core.errors import NotFound, ValidationFailed
from config.core.ids import uuid7
from config.core.money import ZERO
from config.core.transactions import joined_atomic


def adjust(
    *, user_id: UUID, amount: Decimal, reason: str, initiated_by: str, idempotency_key: str | None = None
) -> UUID:
    """Correct a balance by a signed amount.

    Returns the id of the entry. A positive one makes a lot, a negative one burns lots. Due lots expire first.

    Units:       credits, not 0, 8 places. A negative adjustment may overdraw: that is what correcting can mean.
    Locks:       the wallet row.
    Idempotent:  by the caller's idempotency key.
    Keeps:       L1, L4, L9, L10.
    Raises:      ValidationFailed: zero or out of range.
    """
    if amount == 0:
        raise ValidationFailed("An adjustment moves something.", field="amount")
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        now, lots, _ = read_holdings(wallet, None)
        posting = Posting(wallet=wallet, lots=lots, now=now)
        # What has expired pays for no correction.
        posting.expire()
        if amount > 0:
            lot = NewLot(uuid7(), "adjustment", amount)
            entry = posting.credit(lot, kind="adjustment", reference=Reference("grant", lot.id), reason=reason,
                                   initiated_by=initiated_by, idempotency_key=idempotency_key)  # fmt: skip
        else:
            entry = posting.debit(-amount, kind="adjustment", reference=Reference("adjustment", uuid7()), reason=reason,
                                  initiated_by=initiated_by, idempotency_key=idempotency_key)  # fmt: skip
        write(posting)
        return entry.id


def refund(
    *, user_id: UUID, reference: Reference, reason: str, initiated_by: str, amount: Decimal | None = None,
    idempotency_key: str | None = None,
) -> UUID:  # fmt: skip
    """Give back what a debit (`("entry", id)`) or a whole turn (`("turn", id)`) took, or a part of it.

    Returns the id of the entry.

    It repays an overdraft first; the rest goes back into the lots that paid, the one burnt last first. What came out of
    a lot that has expired or was voided since, or out of an overdraft, becomes a lot of kind `refund` that never
    expires and may pay for what that lot could.

    Units:       credits, > 0, 8 places; without `amount` all that is left to refund.
    Locks:       the wallet row.
    Idempotent:  by the caller's idempotency key.
    Keeps:       L1, L4 (never more than was taken, of a debit and of the work it was for), L9, L10.
    Raises:      NotFound where this user has no such debit, RefundExceedsDebit.
    """
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        found = read_refundable(wallet, reference)
        if found is None:
            raise NotFound
        wanted = found.left if amount is None else amount
        if wanted <= 0 or wanted > found.left:
            raise RefundExceedsDebit(found.left)
        now, lots, _ = read_holdings(wallet, None)
        posting = Posting(wallet=wallet, lots=lots, now=now)
        open_lots = {lot.id: lot for lot in posting.lots}
        returns = [(open_lots.get(paid.lot.id, paid.lot), paid.most) for paid in found.paid if paid.is_open(now)]
        # Less what repays an overdraft.
        to_lots = min(wanted, max(ZERO, posting.balance + wanted))
        instead = NewLot(uuid7(), "refund", wanted, aliases=_aliases(found, to_lots, now))
        entry = posting.refund(wanted, reference=reference, returns=returns, instead=instead, reason=reason,
                               initiated_by=initiated_by, idempotency_key=idempotency_key)  # fmt: skip
        write(posting)
        return entry.id


def void(*, user_id: UUID, grant_id: UUID, reason: str, initiated_by: str, idempotency_key: str | None = None) -> UUID:
    """Take what remains of a grant out of the wallet, whether held or not; returns the id of the entry.

    Running work goes on and is billed; what no lot covers then is an overdraft. A refund never fills a voided grant.
    Due lots expire first.

    Locks:       the wallet row.
    Idempotent:  by the caller's idempotency key.
    Keeps:       L1, L4, L9, L10.
    Raises:      NothingToVoid where it is spent, expired or voided already, or not this user's.
    """
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        now, lots, _ = read_holdings(wallet, None)
        posting = Posting(wallet=wallet, lots=lots, now=now)
        # Else it would depend on the beat whether what has expired is voided, and whether holds still reserve it.
        posting.expire()
        lot = next((lot for lot in posting.lots if lot.id == grant_id and lot.remaining > 0), None)
        if lot is None:
            raise NothingToVoid
        entry = posting.void(lot, reason=reason, initiated_by=initiated_by, idempotency_key=idempotency_key)
        write(posting)
        return entry.id


def _aliases(found: Refundable, to_lots: Decimal, now: datetime) -> tuple[str, ...]:
    """What a lot may pay for that stands in for closed ones: what they could, where they agree; else everything."""
    scopes = {paid.lot.aliases for paid in found.paid if not paid.is_open(now)}
    came_out_of_lots = sum((paid.most for paid in found.paid), ZERO) >= to_lots
    return scopes.pop() if len(scopes) == 1 and came_out_of_lots else ()

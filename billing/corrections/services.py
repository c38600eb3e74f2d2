"""One function a correction, in the terms of whoever asks for it. Each moves credits by `billing.ledger` alone."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from django.db import OperationalError

from billing import ledger
from billing.corrections.journal import logged
from billing.errors import NothingToVoid, RefundExceedsDebit
from billing.ledger import Reference
from billing.ledger.refundable import read_refundable
from billing.locks import read_wallet
from billing.models import CreditGrant, CreditTransaction, LLMCallEvent
from config.core.errors import NotFound, ValidationFailed, WalletBusy
from config.core.idempotency import Claim, find, once
from config.core.money import ZERO
from config.core.transactions import CONTENDED_SQLSTATES, retrying, sqlstate

T = TypeVar("T")


def post_once(claim: Claim | None, make: Callable[[], UUID]) -> tuple[CreditTransaction, bool]:
    """Move credits once per key; the entry, and whether this was a replay. `make` returns the id of its entry.

    Raises: WalletBusy, IdempotencyKeyReused, and what `make` raises.
    """

    def load(id_: UUID) -> CreditTransaction:
        return CreditTransaction.objects.get(id=id_)

    try:
        return retrying(lambda: once(claim, resource_type="entry", make=make, load=load))
    except OperationalError as error:
        if sqlstate(error) in CONTENDED_SQLSTATES:
            raise WalletBusy from None
        raise


def posted_before(claim: Claim | None) -> CreditTransaction | None:
    """The entry that this key has made. Asked before the request is judged: what was fine then may be so no more.

    Raises: IdempotencyKeyReused.
    """
    found = find(claim)
    return None if found is None else CreditTransaction.objects.get(id=found.resource_id)


def refund(
    *, user_id: UUID, reason: str, initiated_by: str, idempotency_key: str | None = None, turn_id: UUID | None = None,
    transaction_id: UUID | None = None, amount: Decimal | None = None,
) -> UUID:  # fmt: skip
    """Refund a turn or one debit, wholly or in part; returns the id of the entry.

    Idempotent:  by the caller's key.
    Raises:      NotFound, ValidationFailed where the transaction is no debit, RefundExceedsDebit.
    """
    if turn_id is not None:
        reference = Reference("turn", turn_id)
        # A turn that cost nothing has no debit, but it is there.
        if LLMCallEvent.objects.filter(turn_id=turn_id, user_id=user_id).exists() and not _debits(user_id, turn_id):
            raise RefundExceedsDebit(ZERO)
    else:
        entry = CreditTransaction.objects.filter(id=transaction_id, user_id=user_id).first() if transaction_id else None
        if entry is None:
            raise NotFound
        if entry.kind != CreditTransaction.Kind.DEBIT:
            raise ValidationFailed("Only a debit can be refunded.", field="transaction_id", error_code="not_a_debit")
        reference = Reference("entry", entry.id)
    return ledger.refund(
        user_id=user_id, reference=reference, amount=amount, reason=reason, initiated_by=initiated_by,
        idempotency_key=idempotency_key,
    )  # fmt: skip


def refundable(user_id: UUID, reference: Reference) -> Decimal:
    """What is left to refund of a debit or a turn, as a page shows it: read without the wallet's lock."""
    wallet = read_wallet(user_id)
    found = None if wallet is None else read_refundable(wallet, reference)
    return ZERO if found is None else found.left


def _debits(user_id: UUID, turn_id: UUID) -> bool:
    return CreditTransaction.objects.filter(user_id=user_id, reference_id=turn_id, kind="debit").exists()


def void_once(claim: Claim | None, *, grant_id: UUID, reason: str, initiated_by: str) -> tuple[CreditTransaction, bool]:
    """Void a grant; one that was voided before answers with the entry of that time.

    Raises: NotFound, NothingToVoid, WalletBusy, IdempotencyKeyReused.
    """
    grant = CreditGrant.objects.filter(id=grant_id).first()
    if grant is None:
        raise NotFound

    def make() -> UUID:
        key = claim.key if claim else None
        return ledger.void(
            user_id=grant.user_id, grant_id=grant_id, reason=reason, initiated_by=initiated_by, idempotency_key=key
        )

    try:
        return post_once(claim, logged(make, title="Void grant", actor=initiated_by))
    except NothingToVoid:
        before = CreditTransaction.objects.filter(reference_type="void", reference_id=grant_id).first()
        if before is None:
            raise
        return before, True

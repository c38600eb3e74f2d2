"""Holds.

Credits reserved before a provider is called. Placed, extended, renewed; settled and released in `settling`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db import connection

from billing.errors import HoldClosed, InsufficientCredits
from billing.ledger.posting import Posting
from billing.ledger.states import Enforcement, HoldChange, Reference, WalletState
from billing.ledger.wallets import get_or_create_wallet
from billing.ledger.writing import write, write_new_hold
from billing.locks import read_holdings
from config.core.ids import uuid7
from config.core.transactions import joined_atomic


def place_hold(*, user_id: UUID, reference: Reference, amount: Decimal, enforcement: Enforcement) -> UUID:
    """Reserve credits before a provider is called; returns the hold's id. Due lots expire first.

    Units:       credits, >= 0, 8 places.
    Locks:       the wallet row.
    Idempotent:  no: a reference has one hold for ever, and the caller's own row for that reference guards it.
    Keeps:       L2, L8, L9.
    Raises:      InsufficientCredits in `hard` mode (nothing is written); `off` and `warn` refuse nothing.
    """
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        wallet = _expire_due(wallet)
        available = wallet.balance - wallet.held
        if enforcement == "hard" and available < amount:
            raise InsufficientCredits(balance=wallet.balance, held=wallet.held, available=available, required=amount)
        hold_id = uuid7()
        write_new_hold(
            wallet=wallet,
            hold_parameters={
                "hold_id": hold_id,
                "hold_type": reference.type,
                "hold_reference_id": reference.id,
                "hold_amount": amount,
                "hold_ttl_s": settings.HOLD_TTL_S,
            },
        )
        return hold_id


def extend_hold(*, user_id: UUID, reference: Reference, amount: Decimal, enforcement: Enforcement) -> None:
    """Let an open hold reserve `amount` in all.

    What the finished calls cost and what the next one may. It never shrinks.

    Units:       credits, >= 0, 8 places.
    Locks:       the wallet row.
    Idempotent:  on (reference, amount).
    Keeps:       L2.
    Raises:      InsufficientCredits in `hard` mode, HoldClosed when the hold is no longer open.
    """
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        now, lots, hold = read_holdings(wallet, reference)
        if hold is None or hold.status != "open":
            raise HoldClosed
        if amount <= hold.amount:
            return
        posting = Posting(wallet=wallet, lots=lots, now=now)
        # What has expired pays for no further call; what this hold reserves of it stays until it closes.
        posting.expire()
        if enforcement == "hard" and posting.available < amount - hold.amount:
            raise InsufficientCredits(
                balance=posting.balance,
                held=posting.held,
                available=posting.available,
                required=amount - hold.amount,
            )
        posting.change_hold(hold, HoldChange(id=hold.id, status="open", amount=amount))
        write(posting)


def renew_holds(*, reference_type: str, reference_ids: Iterable[UUID]) -> None:
    """Push out the expiry of open holds, on the database's clock. Renewed together with the lease of what they are for.

    Locks:       the hold rows; no money moves, so no wallet.
    Idempotent:  yes.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE credit_holds SET expires_at = clock_timestamp() + make_interval(secs => %s)
                WHERE reference_type = %s AND reference_id = ANY(%s) AND status = 'open'""",
            [settings.HOLD_TTL_S, reference_type, list(reference_ids)],
        )


def _expire_due(wallet: WalletState) -> WalletState:
    """Post expired lots of a locked wallet. Costs nothing where none is due; `next_expiry_at` says so."""
    # The process's clock decides only whether to look; what has expired is judged on the database's.
    if wallet.next_expiry_at is None or wallet.next_expiry_at > datetime.now(UTC):
        return wallet
    now, lots, _ = read_holdings(wallet, None)
    posting = Posting(wallet=wallet, lots=lots, now=now)
    if posting.expire():
        write(posting)
    return replace(
        wallet,
        balance=posting.balance,
        last_seq=posting.seq,
        last_hash=posting.last_hash,
        next_expiry_at=posting.next_expiry_at(),
    )

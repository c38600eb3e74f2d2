"""Wallets: made on first use, with the beta grant; locked and posted to by every money function."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import connection

from billing.ledger.chain import seed_hash
from billing.ledger.posting import Posting
from billing.ledger.states import NewLot, Reference, WalletState
from billing.ledger.writing import write
from billing.locks import lock_wallet, read_holdings, read_wallet
from config.core.errors import WalletBusy
from config.core.ids import uuid7
from config.core.transactions import joined_atomic

WELCOME_CAMPAIGN = "welcome"


def get_or_create_wallet(*, user_id: UUID) -> WalletState:
    """The user's wallet, made with `BETA_GRANT_CREDITS` if there is none.

    Locked until the surrounding transaction ends.

    Locks:       the wallet row.
    Idempotent:  on user_id; of twenty first requests at once one makes the wallet and its grant.
    Keeps:       L1, L9, L10.
    """
    with joined_atomic():
        wallet = lock_wallet(user_id)
        if wallet is not None:
            return wallet
        if _insert_wallet(user_id) and settings.BETA_GRANT_CREDITS > 0:
            _welcome(user_id)
        return _locked(user_id)


def ensure_wallet(*, user_id: UUID) -> None:
    """Make the user's wallet, with `BETA_GRANT_CREDITS`, where there is none: for who only wants to look at it.

    Locks:       the wallet row, where it is made.
    Idempotent:  on user_id.
    Keeps:       L1, L9, L10.
    """
    if read_wallet(user_id) is None:
        get_or_create_wallet(user_id=user_id)


def _insert_wallet(user_id: UUID) -> bool:
    """True for the one who made it. The others wait here for that transaction, then find its wallet."""
    id_ = uuid7()
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO credit_wallets (id, user_id, balance, held, last_seq, last_hash)
               VALUES (%s, %s, 0, 0, 0, %s) ON CONFLICT (user_id) DO NOTHING""",
            [id_, user_id, seed_hash(id_)],
        )
        return bool(cursor.rowcount == 1)


def _welcome(user_id: UUID) -> None:
    wallet = _locked(user_id)
    posting = Posting(wallet=wallet, lots=[], now=read_holdings(wallet, None).now)
    lot = NewLot(id=uuid7(), kind="beta", amount=settings.BETA_GRANT_CREDITS, campaign=WELCOME_CAMPAIGN)
    posting.credit(
        lot, kind="grant", reference=Reference("grant", lot.id), reason="welcome grant", initiated_by="system"
    )
    write(posting)


def _locked(user_id: UUID) -> WalletState:
    wallet = lock_wallet(user_id)
    if wallet is None:
        raise WalletBusy
    return wallet

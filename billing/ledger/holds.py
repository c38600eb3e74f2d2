"""Holds.

Credits reserved before a provider is called. Placed, extended, renewed; settled and released in `settling`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db import connection

from billing.errors import HoldClosed, InsufficientCredits, SpendingLimitReached
from billing.ledger import limits, shadow
from billing.ledger.gate import Gate
from billing.ledger.posting import Posting, burning_order
from billing.ledger.states import Enforcement, HoldChange, Place, Reference, Share, WalletState
from billing.ledger.wallets import ensure_wallet, get_or_create_wallet
from billing.ledger.writing import write, write_new_hold
from billing.locks import read_claims, read_holdings, read_wallet
from config.core.errors import WalletBusy
from config.core.ids import uuid7
from config.core.money import ZERO
from config.core.transactions import joined_atomic, snapshot

_NOWHERE = Place()


def place_hold(
    *, user_id: UUID, reference: Reference, shares: Sequence[Share], enforcement: Enforcement, place: Place = _NOWHERE,
    essential: Sequence[Share] | None = None,
) -> UUID:  # fmt: skip
    """Reserve the sum of `shares` before a provider is called; returns the hold's id. Due lots expire first.

    `essential`: those without which the work would not begin in `hard` mode, where that is not all of them.

    Units:       credits, >= 0, 8 places.
    Locks:       the wallet row.
    Idempotent:  no: a reference has one hold for ever, and the caller's own row for that reference guards it.
    Keeps:       L2, L8, L9, L11.
    Raises:      SpendingLimitReached in every mode, InsufficientCredits in `hard` mode (nothing is written). `off` and
                 `warn` do not ask the wallet; `warn` records what `hard` would have refused.
    """
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        wallet = _expire_due(wallet)
        gate = _gate(wallet, reference, shares, place)
        refusal = gate.refusal(shares if essential is None or enforcement == "hard" else essential)
        _judge(refusal, enforcement=enforcement, user_id=user_id, reference=reference, stage="opening")
        hold_id = uuid7()
        write_new_hold(
            wallet=wallet, hold_id=hold_id, reference=reference, shares=shares, place=place, ttl_s=settings.HOLD_TTL_S
        )
        return hold_id


def extend_hold(*, user_id: UUID, reference: Reference, shares: Sequence[Share], enforcement: Enforcement) -> None:
    """Let an open hold reserve the sum of `shares` in all: what finished calls cost, and the next one or tools may.

    It never shrinks.

    Units:       credits, >= 0, 8 places.
    Locks:       the wallet row.
    Idempotent:  on (reference, shares), which are kept also where it does not grow: a limit may be made any moment.
    Keeps:       L2, L11.
    Raises:      as `place_hold`, and HoldClosed when the hold is no longer open.
    """
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        now, lots, hold = read_holdings(wallet, reference)
        if hold is None or hold.status != "open":
            raise HoldClosed
        amount = sum((share.amount for share in shares), ZERO)
        posting = Posting(wallet=wallet, lots=lots, now=now)
        # What has expired pays for no further call; what this hold reserves of it stays until it closes.
        posting.expire()
        gate = Gate(posting.balance, posting.held, own=hold.amount)
        if wallet.has_limits or wallet.has_scoped_lots:
            claims = read_claims(wallet, reference)
            limits.ensure_within(
                claims.limits, user_id=user_id, shares=shares, place=hold.place, others=claims.others, now=now
            )
            # Without the time: what is left of expired lots by now is what holds reserve, this one's part included.
            gate = replace(gate, lots=posting.lots, others=claims.others)
        _judge(
            gate.refusal(shares), enforcement=enforcement, user_id=user_id, reference=reference, stage="between_calls"
        )
        grown = max(amount, hold.amount)
        posting.change_hold(hold, HoldChange(id=hold.id, status="open", amount=grown, shares=tuple(shares)))
        write(posting)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a hold would meet now: credits that are free for its last share, and why it would be refused, if it would.

    A `SpendingLimitReached` refuses in every mode, `InsufficientCredits` in `hard` mode.
    """

    available: Decimal
    refusal: InsufficientCredits | SpendingLimitReached | None


def preview_hold(*, user_id: UUID, shares: Sequence[Share], place: Place = _NOWHERE) -> Preview:
    """Ask the gate without going through it. Makes the wallet, with its welcome grant, as a first look does.

    Locks:       none, but where it makes the wallet: who asks may be told while another turn opens.
    Idempotent:  yes; nothing else is written.
    """
    ensure_wallet(user_id=user_id)
    with snapshot():
        wallet = read_wallet(user_id)
        if wallet is None:
            raise WalletBusy
        now, lots, _ = read_holdings(wallet, None)
        posting = Posting(wallet=wallet, lots=lots, now=now)
        # As opening would post it; here it is only reckoned with.
        posting.expire()
        claims = read_claims(wallet, Reference("none", uuid7()))
    gate = Gate(posting.balance, posting.held, lots=posting.lots, others=claims.others, now=now)
    available = gate.available_for(shares[-1].model_alias)
    try:
        limits.ensure_within(claims.limits, user_id=user_id, shares=shares, place=place, others=claims.others, now=now)
    except SpendingLimitReached as refusal:
        return Preview(available, refusal)
    return Preview(available, gate.refusal(shares))


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


def _gate(wallet: WalletState, reference: Reference, shares: Sequence[Share], place: Place) -> Gate:
    """The wallet as a new hold meets it. Raises: SpendingLimitReached."""
    gate = Gate(wallet.balance, wallet.held)
    if not (wallet.has_limits or wallet.has_scoped_lots):
        return gate
    now, lots, _ = read_holdings(wallet, None)
    claims = read_claims(wallet, reference)
    limits.ensure_within(
        claims.limits, user_id=wallet.user_id, shares=shares, place=place, others=claims.others, now=now
    )
    return replace(gate, lots=sorted(lots, key=burning_order), others=claims.others, now=now)


def _judge(
    refusal: InsufficientCredits | None, *, enforcement: Enforcement, user_id: UUID, reference: Reference, stage: str
) -> None:
    if refusal is None:
        return
    if enforcement == "hard":
        raise refusal
    if enforcement == "warn":
        shadow.record(refusal, user_id=user_id, reference=reference, stage=stage)


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

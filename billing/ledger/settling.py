"""The one settle: every LLM call that is billed, is billed here, whatever it was part of."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from billing import metrics
from billing.errors import HoldClosed
from billing.ledger import counting
from billing.ledger.posting import Posting
from billing.ledger.states import HoldChange, HoldState, MeteredCall, Reference, Settlement
from billing.ledger.wallets import get_or_create_wallet
from billing.ledger.writing import event_row, write
from billing.locks import read_holdings
from config.core.money import ZERO
from config.core.transactions import after_commit, joined_atomic


def settle(
    *, user_id: UUID, reference: Reference, calls: Sequence[MeteredCall], pricing_version: str, pricing_revision: int
) -> Settlement:
    """Bill the calls of one piece of work and close its hold: events, debits, lots, hold and wallet, all or nothing.

    A call whose 8-place product is above 0 gets exactly one debit. The bill is never clamped to the hold. With nothing
    to charge the hold is released. Lots that expired under the hold leave the wallet now.

    Units:       credits at 8 places (debits) and 4 places (events).
    Locks:       the wallet row (the caller may hold its turn's row: turn → wallet).
    Idempotent:  on reference: once the hold is closed, the stored outcome is returned and nothing is written.
    Keeps:       L1, L2, L3, L6, L9, L10, L11.
    Raises:      HoldClosed when the reference has no hold at all.
    """
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        now, lots, hold = read_holdings(wallet, reference)
        if hold is None:
            raise HoldClosed
        if hold.status != "open":
            return _settled_before(hold)
        posting = Posting(wallet=wallet, lots=lots, now=now)
        charged = ZERO
        for call in calls:
            event = event_row(
                call,
                api_key_id=hold.place.api_key_id,
                pricing_version=pricing_version,
                pricing_revision=pricing_revision,
            )
            if call.rated.credits_charged > 0 and charged + call.rated.credits_charged > hold.amount:
                event["usage_flags"].append("charge_above_hold")
            posting.changes.events.append(event)
            if call.rated.credits_charged > 0:
                charged += call.rated.credits_charged
                posting.debit(
                    call.rated.credits_charged,
                    kind="debit",
                    reference=reference,
                    reason=call.purpose,
                    initiated_by=str(user_id),
                    event_id=call.event_id,
                    model_alias=call.model_alias,
                )
        posting.change_hold(hold, HoldChange(hold.id, "settled", hold.amount))
        posting.expire()
        # The balance that the hold remembers is the one after everything that this transaction posted.
        posting.changes.hold = HoldChange(
            hold.id, "settled" if charged > 0 else "released", hold.amount, charged, posting.balance
        )
        write(posting)
        if wallet.has_limits:
            counting.count(wallet, reference, calls=calls, place=hold.place, now=now)
        settlement = Settlement(charged, posting.balance, hold.amount, settled_now=True)
        after_commit(metrics.settled, tuple(calls), is_above_hold=settlement.exceeded_hold)
        return settlement


def _settled_before(hold: HoldState) -> Settlement:
    if hold.charged is None or hold.balance_after is None:
        raise HoldClosed
    return Settlement(hold.charged, hold.balance_after, hold.amount, settled_now=False)

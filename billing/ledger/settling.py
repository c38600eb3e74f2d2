"""The one settle: every call that is billed, of a model or of a tool, is billed here, whatever it was part of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from billing import metrics
from billing.errors import HoldClosed
from billing.ledger import counting
from billing.ledger.posting import Posting
from billing.ledger.states import (
    NO_MODEL,
    HoldChange,
    HoldState,
    MeteredCall,
    MeteredTool,
    Reference,
    Settlement,
    Share,
)
from billing.ledger.wallets import get_or_create_wallet
from billing.ledger.writing import event_row, tool_event_row, write
from billing.locks import read_holdings
from config.core.money import ZERO
from config.core.transactions import after_commit, joined_atomic


def settle(
    *, user_id: UUID, reference: Reference, calls: Sequence[MeteredCall], pricing_version: str, pricing_revision: int,
    tools: Sequence[MeteredTool] = (),
) -> Settlement:  # fmt: skip
    """Bill the calls of one piece of work and close its hold: events, debits, lots, hold and wallet, all or nothing.

    A call of a model or of a tool whose 8-place product is above 0 gets exactly one debit. The bill is never clamped to
    the hold. With nothing to charge the hold is released. Lots that expired under the hold leave the wallet now.

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
        charges = _post(
            posting, in_order(calls, tools), hold=hold, reference=reference,
            at={"pricing_version": pricing_version, "pricing_revision": pricing_revision},
        )  # fmt: skip
        charged = sum((share.amount for share in charges), ZERO)
        posting.change_hold(hold, HoldChange(hold.id, "settled", hold.amount))
        posting.expire()
        # The balance that the hold remembers is the one after everything that this transaction posted.
        posting.changes.hold = HoldChange(
            hold.id, "settled" if charged > 0 else "released", hold.amount, charged, posting.balance
        )
        write(posting)
        if wallet.has_limits:
            counting.count(wallet, reference, charges=charges, place=hold.place, now=now)
        settlement = Settlement(charged, posting.balance, hold.amount, settled_now=True)
        after_commit(metrics.settled, tuple(calls), tuple(tools), is_above_hold=settlement.exceeded_hold)
        return settlement


def _post(
    posting: Posting, items: Iterable[MeteredCall | MeteredTool], *, hold: HoldState, reference: Reference,
    at: dict[str, Any],
) -> list[Share]:  # fmt: skip
    """An event for each call, and a debit for each that costs something. Returns what was charged, for whom."""
    charges: list[Share] = []
    charged = ZERO
    at = {**at, "api_key_id": hold.place.api_key_id}
    for item in items:
        cost = item.rated.credits_charged
        charged += cost
        if isinstance(item, MeteredTool):
            alias, reason = NO_MODEL, "tool"
            posting.changes.tool_events.append(tool_event_row(item, **at))
        else:
            alias, reason = item.model_alias, item.purpose
            event = event_row(item, **at)
            if cost > 0 and charged > hold.amount:
                event["usage_flags"].append("charge_above_hold")
            posting.changes.events.append(event)
        if cost > 0:
            charges.append(Share(alias, cost, item.agent_id))
            posting.debit(
                cost,
                kind="debit",
                reference=reference,
                reason=reason,
                initiated_by=str(posting.wallet.user_id),
                event_id=item.event_id,
                model_alias=alias,
            )
    return charges


def in_order(calls: Iterable[MeteredCall], tools: Iterable[MeteredTool]) -> list[MeteredCall | MeteredTool]:
    """Each model call, then the tools that it asked for: as they were held for, so that the same lots pay."""
    items: list[MeteredCall | MeteredTool] = [*calls, *tools]
    return sorted(items, key=_place)


def _place(item: MeteredCall | MeteredTool) -> tuple[int, int]:
    return (item.asked_by, item.call_index) if isinstance(item, MeteredTool) else (item.call_index, 0)


def _settled_before(hold: HoldState) -> Settlement:
    if hold.charged is None or hold.balance_after is None:
        raise HoldClosed
    return Settlement(hold.charged, hold.balance_after, hold.amount, settled_now=False)

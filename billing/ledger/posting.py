"""Posting: the arithmetic of the ledger, pure. From a locked wallet and its lots to the rows that a transaction writes.

Lots are burnt by priority (lower first), then the one that expires first, then the oldest (L9). What no lot covers is
an overdraft, which the next credit repays first. So at every step: sum of the lots' remaining = max(balance, 0).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from billing.ledger.chain import entry_hash
from billing.ledger.states import (
    Allocation,
    Changes,
    Entry,
    EntryKind,
    HoldChange,
    HoldState,
    Lot,
    NewLot,
    Reference,
    WalletState,
)
from config.core.errors import ValidationFailed
from config.core.ids import uuid7
from config.core.money import LEDGER_LIMIT, ZERO
from pricing.rating import LARGEST_CHARGE

_NEVER = datetime.max.replace(tzinfo=UTC)
# A thousand calls at the most that one can cost.
SETTLING_MARGIN = 1_000 * LARGEST_CHARGE


def burning_order(lot: Lot) -> tuple[int, datetime, datetime, UUID]:
    return (lot.priority, lot.expires_at or _NEVER, lot.created_at, lot.id)


def in_turn(lots: Iterable[Lot], model_alias: str | None) -> list[Lot]:
    """Lots in their order of burning, as a call of this alias burns them: those meant for it before the others."""
    return sorted(lots, key=lambda lot: not lot.pays_for(model_alias))


class Posting:
    """A wallet in the course of one transaction.

    Start it under the wallet's lock, post, then hand `changes` to the writer.

    `now` becomes the `created_at` of every row: the time after the lock was won, so it grows with `seq`.
    """

    def __init__(self, *, wallet: WalletState, lots: Iterable[Lot], now: datetime) -> None:
        self.wallet = wallet
        self.now = now
        self.balance = wallet.balance
        self.held = wallet.held
        self.seq = wallet.last_seq
        self.last_hash = wallet.last_hash
        self.lots = sorted(lots, key=burning_order)
        self.touched: set[UUID] = set()
        self.changes = Changes()

    @property
    def available(self) -> Decimal:
        return self.balance - self.held

    def next_expiry_at(self) -> datetime | None:
        return min((lot.expires_at for lot in self.lots if lot.remaining > 0 and lot.expires_at), default=None)

    def has_scoped_lots(self) -> bool:
        return any(lot.aliases for lot in self.lots if lot.remaining > 0)

    def credit(self, lot: NewLot, *, kind: EntryKind, reference: Reference, reason: str, initiated_by: str,
               idempotency_key: str | None = None) -> Entry:  # fmt: skip
        """Add a lot.

        It first repays an overdraft: that part is allocated to its own entry and cannot be burnt again.
        """
        repaid = min(lot.amount, max(ZERO, -self.balance))
        entry = self._entry(kind=kind, amount=lot.amount, reference=reference, grant_id=lot.id, reason=reason,
                            initiated_by=initiated_by, idempotency_key=idempotency_key)  # fmt: skip
        self._allocate(entry, self._new(lot), repaid)
        return entry

    def refund(self, amount: Decimal, *, reference: Reference, returns: Iterable[tuple[Lot, Decimal]], instead: NewLot,
               reason: str, initiated_by: str, idempotency_key: str | None = None) -> Entry:  # fmt: skip
        """Give `amount` (> 0) back: to an overdraft first, then to the lots that paid, each up to its part.

        `returns`: those lots, with what each may get. What none of them can take, because it has expired or was voided
        or nothing but an overdraft paid, becomes the lot `instead`, whose amount is set here.
        """
        to_lots = max(ZERO, self.balance + amount) - max(ZERO, self.balance)
        returned = []
        for lot, most in returns:
            part = min(most, to_lots)
            returned.append((lot, part))
            to_lots -= part
        entry = self._entry(kind="refund", amount=amount, reference=reference, reason=reason, initiated_by=initiated_by,
                            idempotency_key=idempotency_key, grant_id=instead.id if to_lots > 0 else None)  # fmt: skip
        for lot, part in returned:
            self._allocate(entry, lot, -part)
            if lot not in self.lots:
                self.lots.append(lot)
        if to_lots > 0:
            self._new(replace(instead, amount=to_lots))
        self.lots.sort(key=burning_order)
        return entry

    def void(self, lot: Lot, *, reason: str, initiated_by: str, idempotency_key: str | None = None) -> Entry:
        """Take what remains of a lot (> 0) out of the wallet, held or not."""
        entry = self._entry(kind="adjustment", amount=-lot.remaining, reference=Reference("void", lot.id),
                            grant_id=lot.id, reason=reason, initiated_by=initiated_by,
                            idempotency_key=idempotency_key)  # fmt: skip
        self._allocate(entry, lot, lot.remaining)
        self.changes.voided.add(lot.id)
        return entry

    def debit(self, amount: Decimal, *, kind: EntryKind, reference: Reference, reason: str, initiated_by: str,
              event_id: UUID | None = None, idempotency_key: str | None = None,
              model_alias: str | None = None) -> Entry:  # fmt: skip
        """Take `amount` (> 0) out of the lots in their order; what they do not cover overdraws the wallet.

        Lots that are not meant for this alias come last: before the wallet is overdrawn, never before the others.
        """
        entry = self._entry(kind=kind, amount=-amount, reference=reference, event_id=event_id, reason=reason,
                            initiated_by=initiated_by, idempotency_key=idempotency_key)  # fmt: skip
        owed = amount
        for lot in in_turn(self.lots, model_alias):
            burnt = min(lot.remaining, owed)
            self._allocate(entry, lot, burnt)
            owed -= burnt
            if owed == 0:
                break
        return entry

    def expire(self) -> list[Entry]:
        """Post what has expired.

        Per lot min(remaining, what no open hold reserves). The rest waits for the holds to close.
        """
        entries = []
        for lot in self.lots:
            if lot.expires_at is None or lot.expires_at > self.now:
                continue
            amount = min(lot.remaining, max(ZERO, self.available))
            if amount > 0:
                entry = self._entry(kind="expiry", amount=-amount, reference=Reference("grant", lot.id),
                                    grant_id=lot.id, reason="expired", initiated_by="system")  # fmt: skip
                self._allocate(entry, lot, amount)
                entries.append(entry)
        return entries

    def change_hold(self, hold: HoldState, change: HoldChange) -> None:
        """Grow or close an open hold, and move `held` with it (L2)."""
        after = change.amount if change.status == "open" else ZERO
        self.held += after - hold.amount
        self.changes.hold = change

    def _new(self, lot: NewLot) -> Lot:
        fresh = Lot(lot.id, lot.amount, lot.priority, lot.expires_at, self.now, lot.aliases)
        self.changes.lots_made.append(lot)
        self.lots = sorted([*self.lots, fresh], key=burning_order)
        return fresh

    def _allocate(self, entry: Entry, lot: Lot, amount: Decimal) -> None:
        """`amount` < 0 gives back to the lot."""
        if amount == 0:
            return
        lot.remaining -= amount
        self.touched.add(lot.id)
        self.changes.allocations.append(Allocation(uuid7(), entry.id, lot.id, amount))

    def _entry(self, *, kind: EntryKind, amount: Decimal, reference: Reference, reason: str, initiated_by: str,
               event_id: UUID | None = None, grant_id: UUID | None = None,
               idempotency_key: str | None = None) -> Entry:  # fmt: skip
        balance_after = self.balance + amount
        # Settling only takes. So above zero there is always room for it; below, what people take leaves a margin.
        is_peoples = balance_after < 0 and kind not in {"debit", "refund", "expiry"}
        limit = LEDGER_LIMIT - SETTLING_MARGIN if is_peoples else LEDGER_LIMIT
        if abs(balance_after) >= limit and abs(balance_after) > abs(self.balance):
            raise ValidationFailed("The balance would leave the range of the ledger.", field="amount")
        entry = Entry(
            id=uuid7(), wallet_id=self.wallet.id, user_id=self.wallet.user_id, seq=self.seq + 1, kind=kind,
            amount=amount, balance_after=balance_after, reference_type=reference.type, reference_id=reference.id,
            event_id=event_id, grant_id=grant_id, idempotency_key=idempotency_key, reason=reason,
            initiated_by=initiated_by, created_at=self.now,
        )  # fmt: skip
        entry = replace(entry, entry_hash=entry_hash(self.last_hash, entry))
        self.balance, self.seq, self.last_hash = (balance_after, entry.seq, entry.entry_hash)
        self.changes.entries.append(entry)
        return entry

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

_NEVER = datetime.max.replace(tzinfo=UTC)


def burning_order(lot: Lot) -> tuple[int, datetime, datetime, UUID]:
    return (lot.priority, lot.expires_at or _NEVER, lot.created_at, lot.id)


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

    def credit(self, lot: NewLot, *, kind: EntryKind, reference: Reference, reason: str, initiated_by: str,
               idempotency_key: str | None = None) -> Entry:  # fmt: skip
        """Add a lot.

        It first repays an overdraft: that part is allocated to its own entry and cannot be burnt again.
        """
        repaid = min(lot.amount, max(ZERO, -self.balance))
        entry = self._entry(kind=kind, amount=lot.amount, reference=reference, grant_id=lot.id, reason=reason,
                            initiated_by=initiated_by, idempotency_key=idempotency_key)  # fmt: skip
        fresh = Lot(lot.id, lot.amount, lot.priority, lot.expires_at, self.now)
        self.changes.lots_made.append(lot)
        self.lots = sorted([*self.lots, fresh], key=burning_order)
        self._allocate(entry, fresh, repaid)
        return entry

    def debit(self, amount: Decimal, *, kind: EntryKind, reference: Reference, reason: str, initiated_by: str,
              event_id: UUID | None = None, idempotency_key: str | None = None) -> Entry:  # fmt: skip
        """Take `amount` (> 0) out of the lots in their order; what they do not cover overdraws the wallet."""
        entry = self._entry(kind=kind, amount=-amount, reference=reference, event_id=event_id, reason=reason,
                            initiated_by=initiated_by, idempotency_key=idempotency_key)  # fmt: skip
        owed = amount
        for lot in self.lots:
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

    def change_hold(self, hold: HoldState | None, change: HoldChange) -> None:
        """Open, grow or close a hold, and move `held` with it (L2)."""
        before = hold.amount if hold is not None and hold.status == "open" else ZERO
        after = change.amount if change.status == "open" else ZERO
        self.held += after - before
        self.changes.hold = change

    def _allocate(self, entry: Entry, lot: Lot, amount: Decimal) -> None:
        if amount <= 0:
            return
        lot.remaining -= amount
        self.touched.add(lot.id)
        self.changes.allocations.append(Allocation(uuid7(), entry.id, lot.id, amount))

    def _entry(self, *, kind: EntryKind, amount: Decimal, reference: Reference, reason: str, initiated_by: str,
               event_id: UUID | None = None, grant_id: UUID | None = None,
               idempotency_key: str | None = None) -> Entry:  # fmt: skip
        balance_after = self.balance + amount
        if abs(balance_after) >= LEDGER_LIMIT:
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

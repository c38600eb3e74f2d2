"""What a correction will come to: it is done, looked at, and rolled back. So the page says what the ledger would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db import OperationalError, transaction

from billing.models import CreditGrant, CreditWallet
from config.core.errors import WalletBusy
from config.core.money import ZERO
from config.core.transactions import CONTENDED_SQLSTATES, retrying, sqlstate


@dataclass(frozen=True, slots=True)
class LotMove:
    """One lot before and after; `before` is None for one that will be made."""

    lot: CreditGrant
    before: Decimal | None
    after: Decimal


@dataclass(frozen=True, slots=True)
class Rehearsal:
    before: Decimal
    after: Decimal
    lots: list[LotMove]
    # The entry that was the wallet's last when it was looked at.
    last_seq: int

    @property
    def moves(self) -> Decimal:
        return self.after - self.before


def rehearse(user_id: UUID, perform: Callable[[], object]) -> Rehearsal:
    """Balance and lots before and after `perform`, of which nothing stays.

    Locks:       the wallet row, for as long as that takes.
    Raises:      WalletBusy, and what `perform` raises.
    """

    def work() -> Rehearsal:
        with transaction.atomic():
            last_seq = CreditWallet.objects.filter(user_id=user_id).values_list("last_seq", flat=True).first()
            before, lots_before = _state(user_id)
            perform()
            after, lots_after = _state(user_id)
            transaction.set_rollback(True)
        moved = [
            LotMove(lot, lots_before[lot.id].remaining if lot.id in lots_before else None, lot.remaining)
            for lot in lots_after.values()
            if lot.id not in lots_before or lots_before[lot.id].remaining != lot.remaining
        ]
        return Rehearsal(before, after, moved, last_seq or 0)

    try:
        return retrying(work)
    except OperationalError as error:
        if sqlstate(error) in CONTENDED_SQLSTATES:
            raise WalletBusy from None
        raise


def _state(user_id: UUID) -> tuple[Decimal, dict[UUID, CreditGrant]]:
    balance = CreditWallet.objects.filter(user_id=user_id).values_list("balance", flat=True).first()
    lots = CreditGrant.objects.filter(user_id=user_id).order_by("id")
    return balance or ZERO, {lot.id: lot for lot in lots}

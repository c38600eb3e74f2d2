"""Admission: whether what is free of a wallet covers a hold. Pure; the wallet's lock is held by whoever asks.

Most wallets have lots that pay for everything and no limits: then `balance - held` decides. A lot that is meant for
some aliases counts for those alone. What it will be burnt for depends on who settles first; the gate burns, on paper,
what is held already, oldest hold first, and then looks at what is left for the new call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.errors import InsufficientCredits
from billing.ledger.posting import in_turn
from billing.ledger.states import Lot, OpenHold, Share
from config.core.money import ZERO


@dataclass(frozen=True, slots=True)
class Gate:
    """A wallet as one piece of work meets it.

    `own` is what its hold reserves already, a part of `held`. `lots` (in burning order) and `others` are looked at only
    where a lot is scoped.
    """

    balance: Decimal
    held: Decimal
    own: Decimal = ZERO
    lots: Sequence[Lot] = ()
    others: Sequence[OpenHold] = ()
    now: datetime | None = None

    def available_for(self, model_alias: str) -> Decimal:
        """What a further call of this alias may cost at most."""
        free = self.balance - self.held
        if not self._is_scoped():
            return free
        return min(free, self._meant_for(model_alias, self._left_by_others()))

    def refusal(self, shares: Sequence[Share]) -> InsufficientCredits | None:
        """Why a hold made of `shares` is not covered, in the numbers of this moment; None where it is.

        One that does not grow asks nothing more of the balance, whatever has left the wallet since it was placed; nor
        does a call that costs nothing.
        """
        total = sum((share.amount for share in shares), ZERO)
        available = self.balance - self.held
        if total > self.own and available < total - self.own:
            return self._refused(available, total - self.own, shares[-1])
        if self._is_scoped():
            lots = self._left_by_others()
            for share in shares:
                usable = self._meant_for(share.model_alias, lots)
                if usable < share.amount:
                    return self._refused(min(usable, available), share.amount, share)
                _burn(lots, share)
        return None

    def _refused(self, available: Decimal, required: Decimal, share: Share) -> InsufficientCredits:
        """In the numbers of the alias that was refused: credits that may not pay for it are not available to it."""
        available = min(available, self.available_for(share.model_alias))
        return InsufficientCredits(
            balance=self.balance,
            held=self.held,
            available=available,
            required=required,
            model_alias=share.model_alias,
            available_for=self.available_for,
        )

    def _is_scoped(self) -> bool:
        return any(lot.aliases for lot in self.lots)

    def _left_by_others(self) -> list[Lot]:
        lots = [replace(lot) for lot in self.lots]
        for hold in self.others:
            for share in hold.shares:
                _burn(lots, share)
        return lots

    def _meant_for(self, model_alias: str, lots: Iterable[Lot]) -> Decimal:
        return sum((lot.remaining for lot in lots if lot.pays_for(model_alias) and not self._has_expired(lot)), ZERO)

    def _has_expired(self, lot: Lot) -> bool:
        return lot.expires_at is not None and self.now is not None and lot.expires_at <= self.now


def _burn(lots: Iterable[Lot], share: Share) -> None:
    owed = share.amount
    for lot in in_turn(lots, share.model_alias):
        burnt = min(lot.remaining, owed)
        lot.remaining -= burnt
        owed -= burnt

"""What the money side refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from config.core.errors import DomainError
from config.core.money import ledger_text

if TYPE_CHECKING:
    from billing.ledger.states import Limit


class InsufficientCredits(DomainError):
    """In `hard` mode: the credits that are free do not cover the hold. All amounts in credits."""

    code, status, title = "insufficient_credits", 402, "Insufficient credits"

    def __init__(
        self,
        *,
        balance: Decimal,
        held: Decimal,
        available: Decimal,
        required: Decimal,
        model_alias: str,
        available_for: Callable[[str], Decimal],
    ) -> None:
        self.balance, self.held, self.available, self.required = balance, held, available, required
        self.model_alias = model_alias
        # Differs from `available` where some of the wallet's lots are meant for some aliases only.
        self.available_for = available_for
        super().__init__(
            f"This needs {ledger_text(required)} credits; {ledger_text(available)} are available.",
            balance=ledger_text(balance),
            held=ledger_text(held),
            available=ledger_text(available),
            required=ledger_text(required),
            affordable_models=[],
            affordable_max_output_tokens=None,
        )

    def with_alternatives(self, *, models: list[str], max_output_tokens: int | None) -> InsufficientCredits:
        self.members["affordable_models"] = models
        self.members["affordable_max_output_tokens"] = max_output_tokens
        return self


class SpendingLimitReached(DomainError):
    """A cap of the caller's own or of staff: in every mode of enforcement, whatever the wallet holds."""

    code, status, title = "spending_limit_reached", 402, "Spending limit reached"

    def __init__(self, *, limit: Limit, spent: Decimal, held: Decimal, required: Decimal, resets_at: datetime) -> None:
        subject = limit.subject.replace("_", " ")
        super().__init__(
            f"This {subject} may be charged {ledger_text(limit.amount)} credits a {limit.period}; "
            f"{ledger_text(spent + held)} are spent or held, and this needs {ledger_text(required)}.",
            limit_id=str(limit.id),
            subject=limit.subject,
            subject_id=str(limit.subject_id),
            period=limit.period,
            limit=ledger_text(limit.amount),
            spent=ledger_text(spent),
            held=ledger_text(held),
            required=ledger_text(required),
            resets_at=resets_at.isoformat().replace("+00:00", "Z"),
        )


class RefundExceedsDebit(DomainError):
    code, status, title = "refund_exceeds_debit", 409, "Refund exceeds debit"

    def __init__(self, refundable: Decimal) -> None:
        super().__init__(
            f"At most {ledger_text(refundable)} credits of this are left to refund.", refundable=ledger_text(refundable)
        )


class NothingToVoid(DomainError):
    code, status, title = "nothing_to_void", 409, "Nothing to void"

    def __init__(self) -> None:
        super().__init__("Nothing remains of this grant.")


class HoldClosed(Exception):
    """The hold was settled or released already: whoever comes second must not charge again."""

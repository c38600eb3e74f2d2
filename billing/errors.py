"""What the money side refuses."""

from __future__ import annotations

from decimal import Decimal

from config.core.errors import DomainError
from config.core.money import ledger_text


class InsufficientCredits(DomainError):
    """In `hard` mode: the credits that are free do not cover the hold. All amounts in credits."""

    code, status, title = "insufficient_credits", 402, "Insufficient credits"

    def __init__(self, *, balance: Decimal, held: Decimal, available: Decimal, required: Decimal) -> None:
        self.available = available
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


class WalletBusy(DomainError):
    code, status, title = "wallet_busy", 409, "Wallet busy"

    def __init__(self, detail: str = "This wallet is busy; please try again.") -> None:
        super().__init__(detail, retry_after_s=1)


class HoldClosed(Exception):
    """The hold was settled or released already: whoever comes second must not charge again."""

"""The money tables.

Rows are written by `billing.ledger` alone; `billing.triggers` holds what the database itself refuses.

User, room, session and turn ids are plain UUIDs: no foreign key leads out of billing, because money rows outlive
everything else.
"""

from billing.models.checks import LedgerCheck
from billing.models.enforcement import Enforcement, EnforcementOverride
from billing.models.entries import CreditAllocation, CreditTransaction
from billing.models.events import LLMCallEvent
from billing.models.holds import CreditHold
from billing.models.wallets import CreditGrant, CreditWallet

__all__ = [
    "CreditAllocation",
    "CreditGrant",
    "CreditHold",
    "CreditTransaction",
    "CreditWallet",
    "Enforcement",
    "EnforcementOverride",
    "LLMCallEvent",
    "LedgerCheck",
]

"""The money tables.

Rows are written by `billing.ledger` alone; `billing.triggers` holds what the database itself refuses.

User, room, session and turn ids are plain UUIDs: no foreign key leads out of billing, because money rows outlive
everything else.
"""

from billing.models.alerts import Alert, AlertDelivery, AlertPreference, WebhookEndpoint
from billing.models.checks import LedgerAnchor, LedgerCheck, LedgerCheckpoint
from billing.models.costs import CostDay, CostFinding
from billing.models.enforcement import Enforcement, EnforcementOverride, ShadowRefusal, UserEnforcement
from billing.models.entries import CreditAllocation, CreditTransaction
from billing.models.events import ChargedEvent, LLMCallEvent, ToolCallEvent
from billing.models.holds import CreditHold
from billing.models.limits import SpendingLimit
from billing.models.rollups import UsageActivity, UsageMonth, UsageRollup, UsageRollupState, UsageTotal
from billing.models.simulations import PriceSimulation
from billing.models.wallets import CreditGrant, CreditWallet

__all__ = [
    "Alert",
    "AlertDelivery",
    "AlertPreference",
    "ChargedEvent",
    "CostDay",
    "CostFinding",
    "CreditAllocation",
    "CreditGrant",
    "CreditHold",
    "CreditTransaction",
    "CreditWallet",
    "Enforcement",
    "EnforcementOverride",
    "LLMCallEvent",
    "LedgerAnchor",
    "LedgerCheck",
    "LedgerCheckpoint",
    "PriceSimulation",
    "ShadowRefusal",
    "SpendingLimit",
    "ToolCallEvent",
    "UsageActivity",
    "UsageMonth",
    "UsageRollup",
    "UsageRollupState",
    "UsageTotal",
    "UserEnforcement",
    "WebhookEndpoint",
]

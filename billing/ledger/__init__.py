"""The only code that moves credits. One public door; ids in, every function owns its transaction.

`posting` is the arithmetic, `chain` the hashes, `writing` the one statement that writes, `billing.locks` the locks.
"""

from billing.ledger.correcting import adjust, refund, void
from billing.ledger.granting import expire_lots, grant
from billing.ledger.holds import extend_hold, place_hold, preview_hold, renew_holds
from billing.ledger.settling import in_order, settle
from billing.ledger.states import NO_MODEL, MeteredCall, MeteredTool, Place, Reference, Settlement, Share
from billing.ledger.wallets import ensure_wallet, get_or_create_wallet

__all__ = [
    "NO_MODEL",
    "MeteredCall",
    "MeteredTool",
    "Place",
    "Reference",
    "Settlement",
    "Share",
    "adjust",
    "ensure_wallet",
    "expire_lots",
    "extend_hold",
    "get_or_create_wallet",
    "grant",
    "in_order",
    "place_hold",
    "preview_hold",
    "refund",
    "renew_holds",
    "settle",
    "void",
]

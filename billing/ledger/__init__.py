"""The only code that moves credits. One public door; ids in, every function owns its transaction.

`posting` is the arithmetic, `chain` the hashes, `writing` the one statement that writes, `billing.locks` the locks.
"""

from billing.ledger.granting import adjust, expire_lots, grant
from billing.ledger.holds import extend_hold, place_hold, renew_holds
from billing.ledger.settling import settle
from billing.ledger.states import MeteredCall, Reference, Settlement
from billing.ledger.wallets import get_or_create_wallet

__all__ = [
    "MeteredCall",
    "Reference",
    "Settlement",
    "adjust",
    "expire_lots",
    "extend_hold",
    "get_or_create_wallet",
    "grant",
    "place_hold",
    "renew_holds",
    "settle",
]

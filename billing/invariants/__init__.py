"""L1 to L11 as functions that look at stored rows and yield what does not hold (`docs/ledger-invariants.md`).

`chain` follows the entries (L1, L10), `events` and `tools` the calls (L3, L6), `per_wallet` asks SQL (L2–L4, L8, L9,
L11), `everything_else` what concerns no single wallet (L4's triggers, L5, L7), `wallets` goes through them in batches.

Memory does not grow with the ledger: rows stream, and findings beyond a bound are only mentioned.
"""

from billing.invariants.everything_else import check_everything_else
from billing.invariants.findings import Finding, Head
from billing.invariants.reading import credits_text
from billing.invariants.wallets import Extent, check_wallets, extent

__all__ = ["Extent", "Finding", "Head", "check_everything_else", "check_wallets", "credits_text", "extent"]

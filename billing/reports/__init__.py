"""What others may read of billing. All read-only; reading writes nothing."""

from billing.reports.wallets_and_turns import (
    TurnUsage,
    WalletSummary,
    balances_after,
    calls_of_turn,
    is_low,
    summary_for_support,
    tool_calls_of_turn,
    usage_of_turns,
    wallet_summary,
)

__all__ = [
    "TurnUsage",
    "WalletSummary",
    "balances_after",
    "calls_of_turn",
    "tool_calls_of_turn",
    "is_low",
    "summary_for_support",
    "usage_of_turns",
    "wallet_summary",
]

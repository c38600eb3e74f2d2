"""The processes that are measured, and the upstream behind them."""

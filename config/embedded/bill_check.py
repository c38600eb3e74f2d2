"""Adding a bill up again, with nothing from the program: a handful of `Decimal` lines and the published rule."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

WEIGHT_FRESH = Decimal("0.35")
WEIGHT_CACHE_WRITE = Decimal("0.35")
WEIGHT_CACHED = Decimal("0.10")
WEIGHT_OUTPUT = Decimal("1.00")
DIVISOR = Decimal(10_000)
LEDGER_PLACES = Decimal("0.00000001")


def oe_tokens(call: dict[str, Any]) -> Decimal:
    return (
        WEIGHT_FRESH * int(call["input_tokens_fresh"])
        + WEIGHT_CACHE_WRITE * int(call["input_tokens_cache_write"])
        + WEIGHT_CACHED * int(call["input_tokens_cached"])
        + WEIGHT_OUTPUT * int(call["output_tokens"])
    )


def credits_of(call: dict[str, Any]) -> Decimal:
    exact = oe_tokens(call) * Decimal(call["multiplier"]) / DIVISOR
    return exact.quantize(LEDGER_PLACES, rounding=ROUND_HALF_EVEN)


def disagreements(
    *,
    bill: dict[str, Any],
    balance_before: str,
    balance_after: str,
    debits: Sequence[dict[str, Any]],
) -> list[str]:
    """Every place where the bill, the wallet and the ledger tell different stories, in one sentence each."""
    found = [problem for call in bill["calls"] for problem in _call_disagreements(call)]
    charges = [credits_of(call) for call in bill["calls"]]
    total = sum(charges, Decimal(0))
    amounts = sorted(-Decimal(entry["amount"]) for entry in debits)
    moved = Decimal(balance_before) - Decimal(balance_after)
    if Decimal(bill["credits_charged"]) != total:
        found.append(f"the bill charges {bill['credits_charged']}, its calls add up to {total}")
    if amounts != sorted(charge for charge in charges if charge):
        found.append(f"the ledger holds debits of {_listed(amounts)}, the calls cost {_listed(charges)}")
    if moved != total:
        found.append(f"the wallet moved by {moved}, the calls add up to {total}")
    if Decimal(bill["balance_after"]) != Decimal(balance_after):
        found.append(f"the bill leaves {bill['balance_after']}, the wallet holds {balance_after}")
    return found


def _call_disagreements(call: dict[str, Any]) -> list[str]:
    found = []
    if Decimal(call["oe_tokens"]) != oe_tokens(call):
        found.append(f"call {call['call_index']}: {call['oe_tokens']} OE tokens billed, {oe_tokens(call)} counted")
    if Decimal(call["credits_charged"]) != credits_of(call):
        found.append(f"call {call['call_index']}: {call['credits_charged']} charged, {credits_of(call)} counted")
    return found


def _listed(amounts: Sequence[Decimal]) -> str:
    return ", ".join(str(amount) for amount in amounts) or "nothing"

"""Credits as decimals: how they are rounded, written and read. No float comes near.

Two precisions, both half-even: the ledger keeps 8 places (`ledger`), the usage events show 4 (`usage`).
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal

LEDGER_PLACES = Decimal("0.00000001")
USAGE_PLACES = Decimal("0.0001")
ZERO = Decimal("0.00000000")
# Numeric(18,8): what the ledger's columns hold.
LEDGER_LIMIT = Decimal(10) ** 10

# 50 digits: a product of two column values is exact, so that each result is rounded once, here.
EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN)

_CREDITS = re.compile(r"[+-]?[0-9]{1,10}(\.[0-9]{1,8})?")


def ledger(value: Decimal) -> Decimal:
    """Round once to the ledger's 8 places, half-even."""
    return value.quantize(LEDGER_PLACES, context=EXACT)


def ledger_up(value: Decimal) -> Decimal:
    """Round up to 8 places: for upper bounds, which must not lie below what is charged."""
    return value.quantize(LEDGER_PLACES, rounding=ROUND_CEILING, context=EXACT)


def usage(value: Decimal) -> Decimal:
    """Round once to the 4 places of usage events, half-even."""
    return value.quantize(USAGE_PLACES, context=EXACT)


def ledger_text(value: Decimal) -> str:
    """8 fixed places, never an exponent, never "-0": `"12.34500000"`."""
    return format(ledger(value), "zf")


def usage_text(value: Decimal) -> str:
    """4 fixed places, never an exponent, never "-0": `"0.0062"`."""
    return format(usage(value), "zf")


def parse_credits(text: object) -> Decimal | None:
    """A decimal string with at most 8 places that fits Numeric(18,8); None for anything else, floats included."""
    if not isinstance(text, str) or not _CREDITS.fullmatch(text):
        return None
    return ledger(Decimal(text))

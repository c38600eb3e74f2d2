"""Numbers as the desk writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from config.core.money import EXACT, ledger_text


def percent(part: Decimal | int, whole: Decimal | int) -> str:
    """At one place; a dash where there is no whole."""
    if not whole:
        return "–"
    share = EXACT.divide(EXACT.multiply(Decimal(part), Decimal(100)), Decimal(whole))
    return f"{share.quantize(Decimal('0.1'), context=EXACT)} %"


def amount(value: Decimal | None) -> str:
    """Credits and USD at 8 places, as everywhere; a dash where it is not known."""
    return "–" if value is None else ledger_text(value)


def rounded(value: Decimal | None) -> str:
    """For a figure to be seen from afar: two places, thousands apart."""
    return "–" if value is None else f"{value.quantize(Decimal('0.01'), context=EXACT):,}"


def count(value: Any) -> str:
    return f"{value:,}"

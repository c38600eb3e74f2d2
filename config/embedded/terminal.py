"""Showing a turn and its bill on a terminal, or plainly where there is none."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, TextIO

BOLD, DIM, GREEN, RESET = "\033[1m", "\033[2m", "\033[32m", "\033[0m"
BILL_COLUMNS = ("#", "agent", "model", "fresh", "cached", "output", "OE tokens", "multiplier", "credits")
LEFT_ALIGNED = {"agent", "model"}


class Terminal:
    """Writes at once, in colour only to a terminal whose user has not declined it."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._is_coloured = output.isatty() and not os.environ.get("NO_COLOR")

    def write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()

    def line(self, text: str = "") -> None:
        self.write(f"{text}\n")

    def heading(self, text: str) -> None:
        self.line(f"\n{self._styled(text, BOLD)}")

    def quiet_line(self, text: str) -> None:
        self.line(self._styled(text, DIM))

    def good_line(self, text: str) -> None:
        self.line(self._styled(text, GREEN))

    def _styled(self, text: str, style: str) -> str:
        return f"{style}{text}{RESET}" if self._is_coloured else text


def bill_rows(bill: dict[str, Any]) -> list[list[str]]:
    return [
        [
            str(call["call_index"]),
            call["agent_name"] or call["purpose"],
            f"{call['model_alias']} ({call['provider_model']})",
            str(call["input_tokens_fresh"] + call["input_tokens_cache_write"]),
            str(call["input_tokens_cached"]),
            str(call["output_tokens"]),
            call["oe_tokens"],
            call["multiplier"],
            call["credits_charged"],
        ]
        for call in bill["calls"]
    ]


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, left_aligned: Collection[str] = LEFT_ALIGNED
) -> list[str]:
    """Aligned lines: a head, a rule, the rows."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column in left_aligned else cell.rjust(width)
            for cell, column, width in zip(cells, columns, widths, strict=True)
        ).rstrip()
        for cells in (columns, *rows)
    ]
    return [lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]]

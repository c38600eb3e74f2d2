"""The table at the end of a run. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.results import Row
from config.embedded.terminal import table

COLUMNS = ("bench", "unit", "ours", "yardstick", "ratio", "least - most of ours", "yardstick is")
TEXTS = {"bench", "unit", "yardstick is"}


def cells(row: Row) -> list[str]:
    return [
        row.name,
        row.unit,
        figure(row.our_value),
        figure(row.yardstick_value),
        figure(row.ratio),
        f"{figure(min(row.ours))} - {figure(max(row.ours))}",
        row.against or "-",
    ]


def figure(value: float | None) -> str:
    """Three digits that count, without an exponent."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def lines(rows: Sequence[Row]) -> list[str]:
    return table(COLUMNS, [cells(row) for row in rows], left_aligned=TEXTS)

"""The geometry of a bar chart: everything within its frame, axes at round numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing.desk.charts import BOTTOM, HEIGHT, LABELS, LEFT, RIGHT, TOP, WIDTH, draw
from billing.desk.pieces import Chart, Series


def chart_of(*values, labels=None):
    numbers = [Decimal(value) for value in values]
    return draw(
        Chart("Credits", labels or [str(n) for n in range(len(values))], [Series("credits", numbers)], "credits")
    )


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        (["7"], ["0", "2", "4", "6", "8"]),
        (["3200", "100"], ["0", "1k", "2k", "3k", "4k"]),
        (["0.00000003"], ["0", "0.00000001", "0.00000002", "0.00000003"]),
        (["-1.5", "2"], ["-2", "-1", "0", "1", "2"]),
        (["0", "0"], ["0", "1"]),
        ([], ["0", "1"]),
    ],
)
def test_an_axis_has_round_numbers_from_below_to_above_all_bars(values, lines):
    assert [line.text for line in chart_of(*values).lines] == lines


@pytest.mark.parametrize("values", [["7", "12.5"], ["-3", "4", "0.00000001"], [str(n * n) for n in range(744)]])
def test_every_bar_is_within_the_frame(values):
    bars = chart_of(*values).bars
    assert len(bars) == sum(Decimal(value) != 0 for value in values)
    for bar in bars:
        assert float(bar.x) >= LEFT
        assert float(bar.x) + float(bar.width) <= WIDTH - RIGHT + 0.2
        assert float(bar.y) >= TOP - 0.5
        assert float(bar.y) + float(bar.height) <= HEIGHT - BOTTOM + 0.6


def test_a_bar_says_its_number_and_labels_stay_apart():
    drawing = chart_of("1.50000000", *["1"] * 89, labels=["2026-05-01", *["x"] * 89])
    assert drawing.bars[0].says == "2026-05-01: 1.50000000 credits"
    assert len(drawing.labels) <= LABELS
    assert drawing.legend == []

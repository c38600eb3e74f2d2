from __future__ import annotations

from bench import table
from bench.results import Row


def test_the_table_shows_medians_the_ratio_and_how_far_the_runs_lie_apart():
    rows = [
        Row("settle_16", "settlements/s", [812.4, 790.0, 805.0], [4000.0, 4050.0], "pgbench"),
        Row("price_reload_p99", "ms", [12.3456]),
    ]
    assert table.lines(rows) == [
        "bench             unit           ours  yardstick  ratio  least - most of ours  yardstick is",
        "-------------------------------------------------------------------------------------------",
        "settle_16         settlements/s   805       4025    0.2             790 - 812  pgbench",
        "price_reload_p99  ms             12.3          -      -           12.3 - 12.3  -",
    ]


def test_figures_have_three_digits_that_count_and_no_exponent():
    assert list(map(table.figure, (None, 0.00255, 1.064, 99.96, 100.4, 12_000.0))) == [
        "-", "0.00255", "1.06", "100", "100", "12000",
    ]  # fmt: skip

"""Medians, percentiles, ratios, and the shape of latest.json, on which others rely."""

from __future__ import annotations

import json

import pytest

from bench import results
from bench.results import Row, p99, percentile


def make_row(**fields):
    return Row(**({"name": "settle_1", "unit": "settlements/s", "ours": [10.0, 30.0, 20.0]} | fields))


def test_a_value_is_the_median_of_its_runs_and_the_ratio_is_of_medians():
    row = make_row(yardstick=[100.0, 40.0, 50.0])
    assert (row.our_value, row.yardstick_value, row.ratio) == (20.0, 50.0, 0.4)


def test_without_a_yardstick_there_is_no_ratio():
    assert (make_row().yardstick_value, make_row().ratio) == (None, None)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.99, 1), (99, 0.99, 99), (100, 0.99, 99), (200, 0.99, 198), (4, 0.5, 2)]
)
def test_a_percentile_is_one_of_the_values_that_was_measured(count, share, expected):
    assert percentile(range(count, 0, -1), share) == expected


def test_a_row_of_single_delays_is_summed_up_by_its_own_measure():
    assert make_row(ours=[float(n) for n in range(1, 201)], summed_up=p99).our_value == 198.0


def test_the_file_has_machine_versions_and_an_entry_for_each_row(tmp_path):
    path = tmp_path / "results" / "latest.json"
    rows = [make_row(yardstick=[50.0]), make_row(name="price_reload_p99", unit="ms", ours=[1.0, 2.34567])]
    results.write(path, machine={"cores": 2}, versions={"litellm": None}, rows=rows)
    assert json.loads(path.read_text()) == {
        "machine": {"cores": 2},
        "versions": {"litellm": None},
        "benches": {
            "settle_1": {
                "ours": 20.0, "yardstick": 50.0, "ratio": 0.4, "unit": "settlements/s",
                "runs": {"ours": [10.0, 30.0, 20.0], "yardstick": [50.0]},
            },
            "price_reload_p99": {
                "ours": 1.673, "yardstick": None, "ratio": None, "unit": "ms",
                "runs": {"ours": [1.0, 2.346], "yardstick": []},
            },
        },
    }  # fmt: skip


def test_a_later_run_takes_the_place_of_the_last_one(tmp_path):
    path = tmp_path / "latest.json"
    for ours in (1.0, 2.0):
        results.write(path, machine={}, versions={}, rows=[make_row(ours=[ours])])
    assert json.loads(path.read_text())["benches"]["settle_1"]["ours"] == 2.0
    assert [entry.name for entry in tmp_path.iterdir()] == ["latest.json"]

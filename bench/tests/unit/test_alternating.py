from __future__ import annotations

from bench.alternating import alternate, order


def test_every_other_round_goes_backwards():
    assert order(["ours", "theirs", "bare"], 3) == [
        "ours", "theirs", "bare", "bare", "theirs", "ours", "ours", "theirs", "bare",
    ]  # fmt: skip


def test_each_keeps_its_own_runs():
    times = iter(range(4))
    runs = alternate("settle_1", 2, {"ours": lambda: next(times), "theirs": lambda: next(times)})
    assert runs == {"ours": [0, 3], "theirs": [1, 2]}

from __future__ import annotations

import pytest

from bench.options import Options, read_options
from config.embedded.errors import EmbeddedError


def test_without_settings_everything_is_measured():
    options = read_options({})
    assert options == Options()
    assert options.wants("settle_1")


def test_names_and_beginnings_of_names_choose():
    options = read_options({"BENCH_ONLY": "settle, turn_latency_1", "BENCH_SECONDS": "0.5", "BENCH_BIG": "1"})
    assert (options.seconds, options.is_big) == (0.5, True)
    chosen = ("settle_1", "settle_16", "turn_latency_1")
    assert [name for name in (*chosen, "hot_wallet", "turn_throughput_16") if options.wants(name)] == list(chosen)
    assert options.wants("hot_wallet", "settle_16")


@pytest.mark.parametrize(
    ("variable", "text"), [("BENCH_SECONDS", "soon"), ("BENCH_ROUNDS", "0"), ("BENCH_SAVES", "nan")]
)
def test_what_is_no_number_is_refused_by_name(variable, text):
    with pytest.raises(EmbeddedError, match=f"^{variable}={text} is not a number above 0$"):
        read_options({variable: text})

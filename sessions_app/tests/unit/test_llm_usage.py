from __future__ import annotations

import json
from typing import Any

import pytest

from pricing.rating import TokenPools
from sessions_app.llm.usage import COUNT_MAX, read_usage, storable

KEY = "sk-canary-0123456789abcdef"


def usage(prompt: Any, completion: Any, cached: Any = None, reasoning: Any = None) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
        "completion_tokens_details": None if reasoning is None else {"reasoning_tokens": reasoning},
    }


def pools_and_flags(raw: dict[str, Any]) -> tuple[TokenPools, tuple[str, ...]]:
    reported = read_usage(raw)
    return reported.pools(input_estimate=-1, output_estimate=-1), reported.flags


def test_cached_tokens_are_taken_out_of_the_input_that_includes_them() -> None:
    assert pools_and_flags(usage(262_960, 10, cached=257_955)) == (
        TokenPools(input_fresh=5_005, input_cached=257_955, output=10),
        (),
    )


def test_reasoning_is_part_of_the_output_and_not_added_to_it() -> None:
    assert pools_and_flags(usage(5, 28, reasoning=18)) == (TokenPools(input_fresh=5, output=28, reasoning=18), ())


def test_without_a_cached_count_all_input_is_fresh() -> None:
    assert pools_and_flags({"prompt_tokens": 120, "completion_tokens": 80}) == (
        TokenPools(input_fresh=120, output=80),
        (),
    )


def test_zeros_are_zeros() -> None:
    assert pools_and_flags(usage(0, 0, cached=0, reasoning=0)) == (TokenPools(), ())


def test_more_cached_than_input_is_clamped_and_flagged() -> None:
    assert pools_and_flags(usage(10, 1, cached=11)) == (
        TokenPools(input_cached=10, output=1),
        ("cached_exceeds_input",),
    )


def test_more_reasoning_than_output_is_clamped_and_flagged() -> None:
    assert pools_and_flags(usage(10, 1, reasoning=2)) == (
        TokenPools(input_fresh=10, output=1, reasoning=1),
        ("reasoning_exceeds_output",),
    )


@pytest.mark.parametrize(
    ("count", "flag"),
    [
        (-1, "negative_count"),
        (-(10**30), "negative_count"),
        (-1.0, "negative_count"),
    ],
)
def test_a_negative_count_is_zero_and_flagged(count: Any, flag: str) -> None:
    pools, flags = pools_and_flags(usage(count, 7))
    assert (pools, flag in flags) == (TokenPools(output=7), True)
    pools, flags = pools_and_flags(usage(7, count))
    assert (pools, flag in flags) == (TokenPools(input_fresh=7), True)
    pools, flags = pools_and_flags(usage(7, 7, cached=count))
    assert (pools, flag in flags) == (TokenPools(input_fresh=7, output=7), True)


@pytest.mark.parametrize(
    ("count", "flag"),
    [
        (1.5, "malformed_count"),
        (float("nan"), "malformed_count"),
        (float("inf"), "malformed_count"),
        (True, "malformed_count"),
        (False, "malformed_count"),
        ("twelve", "malformed_count"),
        ("-12", "malformed_count"),
        ("1" * 5_000, "malformed_count"),
        ([12], "malformed_count"),
        ({"n": 12}, "malformed_count"),
        (COUNT_MAX + 1, "absurd_count"),
        (10**400, "absurd_count"),
        (1e300, "absurd_count"),
    ],
)
def test_a_count_that_says_nothing_is_flagged_and_estimated(count: Any, flag: str) -> None:
    pools, flags = pools_and_flags(usage(count, 7))
    assert (pools, flag in flags) == (TokenPools(input_fresh=-1, output=7), True)
    pools, flags = pools_and_flags(usage(7, count))
    assert (pools, flag in flags) == (TokenPools(input_fresh=7, output=-1), True)
    pools, flags = pools_and_flags(usage(7, 7, cached=count))
    assert (pools, flag in flags) == (TokenPools(input_fresh=7, output=7), True)


def test_a_count_written_as_text_is_that_number() -> None:
    assert pools_and_flags(usage("12", 3)) == (TokenPools(input_fresh=12, output=3), ("text_count",))


def test_the_largest_count_is_still_a_count() -> None:
    assert pools_and_flags(usage(COUNT_MAX, 1)) == (TokenPools(input_fresh=COUNT_MAX, output=1), ())


def test_a_whole_number_written_as_a_float_is_that_number() -> None:
    assert pools_and_flags(usage(12.0, 3)) == (TokenPools(input_fresh=12, output=3), ("float_count",))


def test_details_of_another_shape_are_flagged_and_count_nothing() -> None:
    raw = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": [3]}
    assert pools_and_flags(raw) == (TokenPools(input_fresh=5, output=2), ("malformed_count",))


def test_a_flag_is_named_once() -> None:
    assert pools_and_flags(usage(-1, -2, cached=-3)) == (TokenPools(), ("negative_count",))


def test_a_missing_side_is_estimated_and_the_other_kept() -> None:
    reported = read_usage({"prompt_tokens": 9})
    assert not reported.is_complete
    assert reported.pools(input_estimate=100, output_estimate=4) == TokenPools(input_fresh=9, output=4)
    reported = read_usage({"completion_tokens": 3})
    assert reported.pools(input_estimate=100, output_estimate=4) == TokenPools(input_fresh=100, output=3)


def test_raw_usage_is_kept_as_it_came() -> None:
    raw = usage(10, 5, cached=3, reasoning=2)
    assert storable(raw, KEY) == raw


def test_raw_usage_is_made_fit_for_jsonb() -> None:
    raw = {"nul": "a\x00b", "nan": float("nan"), "inf": float("-inf"), "big": 10**400, "sur": "\ud800", "\x00k": 1}
    stored = storable(raw, KEY)
    text = json.dumps(stored, allow_nan=False, ensure_ascii=False)
    assert stored["nul"] == "ab"
    assert stored["nan"] == "nan"
    assert stored["inf"] == "-inf"
    assert stored["big"] == "1" + "0" * 199
    assert stored["sur"] == "\ufffd"
    assert stored["k"] == 1
    assert "\\u0000" not in text


def test_raw_usage_is_bounded_in_width_depth_and_length() -> None:
    deep: Any = "bottom"
    for _ in range(50):
        deep = {"d": deep}
    stored = storable(
        {"deep": deep, "wide": list(range(1_000)), "long": "x" * 10_000, "map": dict.fromkeys(map(str, range(1_000)))},
        KEY,
    )
    assert len(json.dumps(stored)) < 2_000
    assert len(stored["wide"]) == 64
    assert len(stored["long"]) == 200


def test_raw_usage_never_holds_the_key() -> None:
    assert KEY not in repr(storable({KEY: KEY, "list": [f"x{KEY}y"]}, KEY))

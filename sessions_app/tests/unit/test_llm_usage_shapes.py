"""Each way of counting becomes the same exclusive pools: recorded answers, then what a provider could do to us."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.rating import TokenPools
from sessions_app.llm.counts import COUNT_MAX
from sessions_app.llm.decoding import BodyDecoder
from sessions_app.llm.usage import evidence, read_evidence, read_usage
from sessions_app.llm.usage_chunks import GatheredUsage, UsageChunks
from sessions_app.llm.usage_shapes import COUNT_NAMES, USAGE_NAMES, UsageShape
from sessions_app.tests.scripted_provider import Reply
from sessions_app.tests.unit.llm_calls import ESTIMATED_INPUT, ask, make_request
from sessions_app.tests.usage_cases import CASES, FOLDER, UsageCase, case_id

KEY = "sk-canary-0123456789abcdef"
SHAPES: tuple[UsageShape, ...] = ("auto", "openai", "openrouter", "anthropic", "gemini")


def gathered(data: bytes, chunks: UsageChunks = "cumulative") -> GatheredUsage:
    """The usage of a recorded body, as the gateway gathers it."""
    decoder, usage = BodyDecoder(), GatheredUsage(chunks)
    for frame in (*decoder.feed(data), *decoder.close()):
        if frame.usage is not None:
            usage.take(frame.usage)
    return usage


def pools_of(raw: dict[str, Any], shape: UsageShape = "auto", **limits: int) -> tuple[TokenPools, tuple[str, ...]]:
    reported = read_usage(raw, shape=shape, **limits)
    return reported.pools(input_estimate=-1, output_estimate=-1), reported.flags


def merged(*usages: dict[str, Any], chunks: UsageChunks = "cumulative") -> dict[str, Any]:
    usage = GatheredUsage(chunks)
    for each in usages:
        usage.take(each)
    assert usage.merged is not None
    return usage.merged


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_recorded_answer_has_exactly_these_pools_and_flags(case: UsageCase) -> None:
    usage = gathered(case.file.read_bytes(), case.chunks)
    assert usage.merged is not None
    kept = evidence(usage.merged, KEY, shape=case.shape, output_limit=4_096)
    # What was stored is all that it takes to read it again.
    reported = read_evidence(json.loads(json.dumps(kept, allow_nan=False)))
    assert reported.is_complete
    assert reported.pools(input_estimate=-1, output_estimate=-1) == case.pools
    assert usage.flags + reported.flags == case.flags


def test_every_recorded_answer_is_in_the_table() -> None:
    recorded = {path.stem for path in FOLDER.iterdir() if path.suffix in {".sse", ".json"}}
    assert recorded == {case.name for case in CASES} | {"no_usage"}


def test_an_answer_without_usage_is_estimated() -> None:
    result = ask(Reply(raw=(FOLDER / "no_usage.sse").read_bytes()))
    assert (result.status, result.text, result.usage_source, result.raw_usage) == (
        "success",
        "Four words.",
        "estimated",
        None,
    )
    assert result.pools == TokenPools(input_fresh=ESTIMATED_INPUT, output=3)


@pytest.mark.parametrize(
    ("raw", "pools", "flags"),
    [
        # Without a total, reasoning is inside, and cannot be more than all output.
        ((10, 5, None, 3), TokenPools(10, 0, 0, 5, 3), ()),
        ((10, 5, None, 7), TokenPools(10, 0, 0, 5, 5), ("reasoning_exceeds_output",)),
        # A total that fits says that it is inside; one that has it on top, that it is outside.
        ((10, 28, 38, 18), TokenPools(10, 0, 0, 28, 18), ()),
        ((10, 28, 56, 18), TokenPools(10, 0, 0, 46, 18), ("reasoning_outside_output",)),
        # More reasoning than output, and a total that has room for it and for more.
        ((10, 5, 30, 7), TokenPools(10, 0, 0, 12, 7), ("reasoning_outside_output", "total_differs")),
        # A total that nothing explains changes nothing.
        ((10, 28, 99, 18), TokenPools(10, 0, 0, 28, 18), ("total_differs",)),
        ((10, 28, 99, 0), TokenPools(10, 0, 0, 28), ("total_differs",)),
        ((10, 28, 0, 18), TokenPools(10, 0, 0, 28, 18), ()),
        ((0, 0, 99, None), TokenPools(), ()),
        # A total with tokens that have no other name: no more of them than were asked for.
        ((10, 28, 99, None), TokenPools(10, 0, 0, 89, 61), ("reasoning_outside_output",)),
        ((10, 28, 139, None), TokenPools(10, 0, 0, 28), ("total_differs",)),
        ((10, 28, COUNT_MAX, None), TokenPools(10, 0, 0, 28), ("total_differs",)),
        ((10, 28, 10**12, None), TokenPools(10, 0, 0, 28), ("absurd_count",)),
    ],
)
def test_the_total_says_where_reasoning_is(raw: Any, pools: TokenPools, flags: tuple[str, ...]) -> None:
    prompt, completion, total, reasoning = raw
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    assert pools_of({**usage, **details}, output_limit=100) == (pools, flags)


def test_the_total_says_that_cache_and_reasoning_are_outside() -> None:
    usage = {
        "prompt_tokens": 50,
        "completion_tokens": 20,
        "total_tokens": 50 + 20 + 1_000 + 30 + 7,
        "prompt_tokens_details": {"cached_tokens": 1_000, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 7},
    }
    flags = ("cache_outside_input", "reasoning_outside_output")
    assert pools_of(usage) == (TokenPools(50, 1_000, 30, 27, 7), flags)
    # OpenRouter counts for all of its providers in one way, so there a total is no witness.
    clamped = TokenPools(0, 50, 0, 20, 7)
    assert pools_of(usage, "openrouter") == (clamped, ("cached_exceeds_input", "cache_write_exceeds_input"))


def test_a_total_above_what_was_asked_for_is_disbelieved_again_when_it_is_read_from_the_row() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 28, "total_tokens": 500}
    result = ask(Reply(usage=usage), request=make_request(max_output_tokens=100))
    assert (result.pools, result.usage_flags) == (TokenPools(10, 0, 0, 28), ("total_differs",))
    assert result.raw_usage == {**usage, "_output_limit": 100}
    assert read_evidence(result.raw_usage).output == 28


@pytest.mark.parametrize("name", ["cache_read_input_tokens", "cache_creation_input_tokens"])
def test_input_whose_greater_part_says_nothing_is_estimated(name: str) -> None:
    raw = {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 2, name: 10**12}
    assert pools_of(raw) == (TokenPools(input_fresh=-1, output=2), ("absurd_count",))


def test_a_cache_write_larger_than_what_is_left_is_clamped() -> None:
    raw = {"prompt_tokens": 10, "completion_tokens": 1, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 9}
    assert pools_of(raw) == (TokenPools(0, 8, 2, 1), ("cache_write_exceeds_input",))


def test_gemini_without_candidates_has_an_unknown_output_or_only_thoughts() -> None:
    assert pools_of({"promptTokenCount": 8, "totalTokenCount": 8}) == (TokenPools(8, 0, 0, -1), ())
    assert pools_of({"promptTokenCount": 8, "thoughtsTokenCount": 5}) == (TokenPools(8, 0, 0, 5, 5), ())
    malformed = {"promptTokenCount": 8, "thoughtsTokenCount": 5, "candidatesTokenCount": True}
    assert pools_of(malformed) == (TokenPools(8, 0, 0, -1), ("malformed_count",))


def test_two_shapes_in_one_object_are_read_as_the_one_that_counts() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    gemini = {"promptTokenCount": 20, "candidatesTokenCount": 5, "totalTokenCount": 25}
    anthropic = {"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 5}
    assert pools_of({**zeros, **gemini}) == (TokenPools(20, 0, 0, 5), ())
    assert pools_of({**zeros, **anthropic}) == (TokenPools(3, 7, 0, 5), ())
    same = {"prompt_tokens": 20, "completion_tokens": 5}
    assert pools_of({**same, **gemini}) == (TokenPools(20, 0, 0, 5), ())
    other = {"prompt_tokens": 21, "completion_tokens": 5}
    assert pools_of({**other, **gemini}) == (TokenPools(21, 0, 0, 5), ("counts_differ",))


def test_a_provider_that_reports_in_other_names_than_its_shape_is_read_all_the_same() -> None:
    openai = {"prompt_tokens": 9, "completion_tokens": 4}
    gemini = {"promptTokenCount": 9, "candidatesTokenCount": 4}
    for shape in SHAPES:
        assert pools_of(openai, shape) == (TokenPools(9, 0, 0, 4), ())
        assert pools_of(gemini, shape) == (TokenPools(9, 0, 0, 4), ())


# --- chunks ------------------------------------------------------------------------------------------------------


def test_later_counts_replace_earlier_ones_and_gaps_keep_them() -> None:
    first = {"input_tokens": 7, "output_tokens": 1, "cache": {"a": 1, "b": 2}}
    assert merged(first, {"input_tokens": None, "output_tokens": 9, "cache": {"b": 3}, "new": None}) == {
        "input_tokens": 7,
        "output_tokens": 9,
        "cache": {"a": 1, "b": 3},
        "new": None,
    }


def test_an_object_that_becomes_a_number_and_back_does_no_harm() -> None:
    assert merged({"a": 1}, {"a": {"b": 2}}, {"a": [3]}, {"a": {"c": 4}}) == {"a": {"c": 4}}


def test_increments_are_summed_and_nulls_add_nothing() -> None:
    parts = [{"prompt_tokens": 5}, {"prompt_tokens": None, "completion_tokens": "2"}, {"completion_tokens": 3.0}]
    usage = GatheredUsage("incremental")
    for part in parts:
        usage.take(part)
    assert usage.merged == {"prompt_tokens": 5, "completion_tokens": 5}
    assert usage.flags == ("text_count", "float_count")


@pytest.mark.parametrize("bad", [float("nan"), True, "many", [1], 10**12, {"n": 1}])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_increment_that_says_nothing_leaves_the_whole_count_unknown(bad: Any, at: int) -> None:
    parts: list[Any] = [3, 4]
    parts.insert(at, bad)
    raw = merged(*({"prompt_tokens": 1, "completion_tokens": part} for part in parts), chunks="incremental")
    pools, _ = pools_of(raw)
    assert pools == TokenPools(3, 0, 0, -1)


def test_increments_that_are_negative_take_nothing_back() -> None:
    usage = GatheredUsage("incremental")
    for part in (5, -100, 5):
        usage.take({"completion_tokens": part})
    assert (usage.merged, usage.flags) == ({"completion_tokens": 10}, ("negative_count",))


def test_increments_that_sum_to_an_absurd_count_are_estimated() -> None:
    part = {"prompt_tokens": 1, "completion_tokens": COUNT_MAX}
    assert pools_of(merged(part, part, part, chunks="incremental")) == (TokenPools(3, 0, 0, -1), ("absurd_count",))


def test_what_is_no_count_is_not_summed() -> None:
    part = {"prompt_tokens": 1, "cost": 0.5, "queue_time": 2}
    assert merged(part, part, chunks="incremental") == {"prompt_tokens": 2, "cost": 0.5, "queue_time": 2}


def test_a_stream_that_invents_names_does_not_fill_the_memory() -> None:
    usage = GatheredUsage()
    for number in range(1_000):
        usage.take({f"junk{number}": number, "details": {f"junk{number}": number}})
    usage.take({"prompt_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 1}, "completion_tokens": 4})
    assert usage.merged is not None
    assert len(usage.merged) <= 64 + len(USAGE_NAMES)
    assert len(usage.merged["details"]) == 64
    assert pools_of(evidence(usage.merged, KEY)) == (TokenPools(9, 0, 0, 4, 1), ())


# --- calls -------------------------------------------------------------------------------------------------------


def frames(*bodies: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)


def delta(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}


@pytest.mark.parametrize(
    "place",
    [
        lambda usage: {"usage": usage},
        lambda usage: {"x_groq": {"usage": usage}},
        lambda usage: {"message": {"usage": usage}},
        lambda usage: {"usageMetadata": usage},
        lambda usage: {"usage": None, "x_groq": {"id": "r", "usage": usage}},
    ],
)
def test_usage_is_found_where_servers_put_it(place: Any) -> None:
    body = delta("hi", "stop", **place({"prompt_tokens": 9, "completion_tokens": 4}))
    result = ask(Reply(raw=frames(body)))
    assert (result.pools, result.usage_source) == (TokenPools(9, 0, 0, 4), "provider")


@pytest.mark.parametrize("place", ["usage", "x_groq", "message", "usageMetadata"])
@pytest.mark.parametrize("junk", [None, 7, "x", [], {}, {"usage": []}, [{"usage": 1}], True])
def test_junk_where_usage_should_be_is_no_usage(place: str, junk: Any) -> None:
    result = ask(Reply(raw=frames(delta("hi", "stop", **{place: junk}))))
    assert (result.status, result.usage_source, result.text) == ("success", "estimated", "hi")


def test_text_after_the_last_usage_of_a_cut_answer_is_estimated_and_added() -> None:
    opening = {"input_tokens": 9, "cache_read_input_tokens": 100, "output_tokens": 1}
    cut = frames(delta("", usage=opening), delta("12345678"))
    result = ask(Reply(raw=cut))
    assert (result.status, result.usage_source) == ("partial", "estimated")
    assert (result.pools, result.usage_flags) == (TokenPools(9, 100, 0, 1 + 2), ("output_after_usage",))


def test_a_cut_answer_with_usage_on_every_chunk_is_billed_as_reported() -> None:
    cut = frames(*(delta("sk", usage={"prompt_tokens": 9, "completion_tokens": n}) for n in (1, 2, 3)))
    result = ask(Reply(raw=cut))
    assert (result.status, result.usage_source, result.usage_flags) == ("partial", "partial", ())
    assert result.pools == TokenPools(9, 0, 0, 3)


def test_a_provider_cannot_say_how_it_is_to_be_read() -> None:
    raw = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}}
    forged = {**raw, "_usage_shape": "anthropic", "_output_limit": 0}
    result = ask(Reply(usage=forged))
    assert (result.pools, result.raw_usage) == (TokenPools(5, 5, 0, 1), raw)


# --- anything at all ---------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-5, 5_000),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text("0123456789-+.e\x00 ", max_size=24),
    st.sampled_from([None, True, False, [], {}, "12", 10**400, -(10**400), 1e300, -1e300]),
)
GROUPS = ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details")
DETAILS = st.one_of(NUMBERS, st.dictionaries(st.sampled_from(sorted(COUNT_NAMES)), NUMBERS, max_size=4))
USAGES = st.builds(
    lambda counts, groups: {**counts, **groups},
    st.dictionaries(st.sampled_from(sorted(COUNT_NAMES)), NUMBERS, max_size=8),
    st.dictionaries(st.sampled_from([*GROUPS, "cache_creation"]), DETAILS, max_size=3),
)


@given(parts=st.lists(USAGES, min_size=1, max_size=4), shape=st.sampled_from(SHAPES), is_summed=st.booleans())
def test_whatever_is_reported_the_pools_are_exclusive_bounded_and_read_again_from_the_row(
    parts: list[dict[str, Any]], shape: UsageShape, is_summed: bool
) -> None:
    raw = merged(*parts, chunks="incremental" if is_summed else "cumulative")
    kept = evidence(raw, KEY, shape=shape, output_limit=100)
    reported = read_evidence(kept)
    pools = reported.pools(input_estimate=7, output_estimate=3)
    assert min(pools.input_fresh, pools.input_cached, pools.input_cache_write, pools.reasoning) >= 0
    assert pools.reasoning <= pools.output
    assert pools.total <= 8 * COUNT_MAX
    assert read_evidence(json.loads(json.dumps(kept, allow_nan=False))) == reported
    # And what is read from the row is what was read from the provider.
    live = read_usage(raw, shape=shape, output_limit=100)
    if not any(isinstance(value, str) for value in _leaves(raw)):
        assert live.pools(input_estimate=7, output_estimate=3) == pools


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [value]

"""Calls that end well, in every form that OpenAI-compatible servers give an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pricing.rating import TokenPools
from sessions_app.llm.types import Message
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.unit.llm_calls import (
    CANARY_KEY,
    ESTIMATED_INPUT,
    Outcome,
    ask,
    ask_at,
    call,
    in_loop,
    make_request,
    make_settings,
)

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def test_a_streamed_answer_is_text_usage_and_model_of_the_provider() -> None:
    result = ask(Reply(chunks=("Hello", ", ", "wörld 😀"), usage=USAGE, model="scripted-1-2026-02-20"))
    assert result.status == "success"
    assert result.text == "Hello, wörld 😀"
    assert result.pools == TokenPools(input_fresh=12, output=5)
    assert result.usage_source == "provider"
    assert result.raw_usage == USAGE
    assert result.provider_model == "scripted-1-2026-02-20"
    assert result.finish_reason == "stop"
    assert (result.failure, result.usage_flags, result.attempts) == (None, (), 1)


def test_the_request_asks_for_a_stream_with_usage() -> None:
    with ScriptedProvider() as provider:
        ask_at(provider.base_url, request=make_request(temperature=0.7))
        sent = provider.journal[0]
    assert (sent.method, sent.path) == ("POST", "/v1/chat/completions")
    assert sent.body == {
        "model": "scripted-1",
        "messages": [{"role": "system", "content": "Be helpful"}, {"role": "user", "content": "Say hello"}],
        "max_tokens": 100,
        "temperature": 0.7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert sent.headers["authorization"] == f"Bearer {CANARY_KEY}"
    assert sent.headers["x-request-id"] == "req-1"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["content-type"] == "application/json"


def test_a_provider_without_key_gets_no_authorization_header() -> None:
    with ScriptedProvider() as provider:
        ask_at(provider.base_url, key="")
        assert "authorization" not in provider.journal[0].headers


def test_messages_travel_unchanged_but_for_what_utf8_cannot_hold() -> None:
    with ScriptedProvider() as provider:
        ask_at(provider.base_url, request=make_request(messages=(Message("user", 'ü"\\\n\u2028😀\ud800'),)))
        assert provider.journal[0].body["messages"] == [{"role": "user", "content": 'ü"\\\n\u2028😀\ufffd'}]


def test_every_split_of_the_bytes_gives_the_same_answer() -> None:
    whole = Reply(chunks=("é", "日\u2028", "😀"), usage=USAGE)
    with ScriptedProvider(lambda _body: whole) as provider:
        settings = make_settings(provider.base_url)

        async def split_everywhere() -> None:
            await call(settings, Outcome())
            for at in range(1, provider.journal[0].sent_bytes):
                provider.script = lambda _body: replace(whole, split_at=(at,))  # noqa: B023 - called within this round
                result = await call(settings, Outcome())
                assert (result.status, result.text, result.pools.output) == ("success", "é日\u2028😀", 5), at

        in_loop(split_everywhere)


def test_an_answer_byte_by_byte_is_the_same() -> None:
    assert ask(Reply(chunks=("é", "日\u2028", "😀"), piece_bytes=1)).text == "é日\u2028😀"


def test_a_json_body_is_read_as_one_chunk() -> None:
    result = ask(Reply(chunks=("all ", "at once"), usage=USAGE, as_json=True))
    assert (result.status, result.text, result.finish_reason) == ("success", "all at once", "stop")
    assert (result.pools, result.usage_source) == (TokenPools(input_fresh=12, output=5), "provider")


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls"])
def test_every_finish_reason_ends_an_answer_well(reason: str) -> None:
    result = ask(Reply(finish_reason=reason))
    assert (result.status, result.finish_reason) == ("success", reason)


def test_done_is_optional() -> None:
    assert ask(Reply(has_done=False)).status == "success"


def test_crlf_comments_and_events_of_several_lines_are_understood() -> None:
    raw = (
        b": welcome\r\n\r\nevent: message\r\nid: 1\r\n"
        b'data: {"choices": [{"delta":\r\ndata:  {"content": "a"}}]}\r\n\r\n: ping\r\n\r\n'
        b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\r\n\r\ndata: [DONE]\r\n\r\n'
    )
    result = ask(Reply(raw=raw))
    assert (result.status, result.text) == ("success", "a")


def test_deltas_of_null_parts_reasoning_and_nothing_give_only_the_answer() -> None:
    chunks: tuple[Any, ...] = (
        {"role": "assistant"},
        {"content": None},
        {"reasoning_content": "let me think"},
        {"content": [{"type": "text", "text": "A"}, {"type": "thinking", "text": "no"}, {"type": "text", "text": "B"}]},
        {"content": ""},
        "C",
    )
    assert ask(Reply(chunks=chunks)).text == "ABC"


def test_text_is_clean_for_postgresql() -> None:
    assert ask(Reply(chunks=("a\x00b", "\ud83d", "\ude00", "c\ud800", "d"))).text == "ab😀c\ufffdd"


def test_an_answer_without_text_is_a_success() -> None:
    result = ask(Reply(chunks=(), usage={"prompt_tokens": 12, "completion_tokens": 0}))
    assert (result.status, result.text, result.first_text_ms) == ("success", "", None)
    assert result.pools == TokenPools(input_fresh=12)


def test_missing_usage_is_estimated() -> None:
    result = ask(Reply(chunks=("12345", "6789"), usage=None))
    assert result.pools == TokenPools(input_fresh=ESTIMATED_INPUT, output=3)
    assert (result.status, result.usage_source, result.raw_usage) == ("success", "estimated", None)


def test_an_explicit_zero_is_not_estimated() -> None:
    result = ask(Reply(usage={"prompt_tokens": 0, "completion_tokens": 0}))
    assert (result.pools, result.usage_source) == (TokenPools(), "provider")


def test_usage_in_every_chunk_is_counted_once() -> None:
    result = ask(Reply(chunks=("x",) * 100, usage=USAGE, usage_in_every_chunk=True))
    assert (len(result.text), result.pools) == (100, TokenPools(input_fresh=12, output=5))


def test_the_last_usage_wins() -> None:
    frames = [
        b'{"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}',
        b'{"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}',
        b'{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}',
        b'{"choices": [], "usage": {}}',
    ]
    result = ask(Reply(raw=b"".join(b"data: " + frame + b"\n\n" for frame in frames)))
    assert (result.pools, result.usage_source) == (TokenPools(input_fresh=9, output=4), "provider")


def test_pools_are_exclusive_and_odd_counts_are_flagged() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 28,
        "prompt_tokens_details": {"cached_tokens": 140},
        "completion_tokens_details": {"reasoning_tokens": 18},
    }
    result = ask(Reply(usage=usage))
    assert result.pools == TokenPools(input_cached=100, output=28, reasoning=18)
    assert result.usage_flags == ("cached_exceeds_input",)
    assert result.raw_usage == usage


def test_nan_in_usage_is_estimated_and_can_be_stored() -> None:
    result = ask(Reply(usage={"prompt_tokens": float("nan"), "completion_tokens": -5}))
    assert (result.pools, result.usage_source) == (TokenPools(input_fresh=ESTIMATED_INPUT), "estimated")
    assert result.usage_flags == ("malformed_count", "negative_count")
    assert result.raw_usage == {"prompt_tokens": "nan", "completion_tokens": -5}


@pytest.mark.parametrize("model", ["", None])
def test_a_provider_that_names_no_model_answered_as_the_one_asked(model: Any) -> None:
    raw = b'data: {"model": %s, "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    assert ask(Reply(raw=raw % (b"null" if model is None else b'""'))).provider_model == "scripted-1"


def test_a_long_model_name_is_cut() -> None:
    assert ask(Reply(model="m" * 5_000)).provider_model == "m" * 200


def test_latencies_are_measured_from_the_start_of_the_call() -> None:
    result = ask(Reply(first_delay_s=0.1, delay_s=0.05, chunks=("a", "b", "c")))
    assert result.first_text_ms is not None
    assert 100 <= result.first_text_ms < result.latency_ms
    assert 250 <= result.latency_ms < 5_000


def test_a_connection_is_used_again_for_the_next_call() -> None:
    with ScriptedProvider() as provider:

        async def three_calls() -> None:
            for _ in range(3):
                await call(make_settings(provider.base_url), Outcome())

        in_loop(three_calls)
        assert [exchange.connection for exchange in provider.journal] == [1, 1, 1]


def test_cookies_are_not_kept() -> None:
    with ScriptedProvider(lambda _body: Reply(headers={"Set-Cookie": "user=alice; Path=/"})) as provider:

        async def two_calls() -> None:
            for _ in range(2):
                await call(make_settings(provider.base_url), Outcome())

        in_loop(two_calls)
        assert ["cookie" in exchange.headers for exchange in provider.journal] == [False, False]

"""Exact counts where a provider has a tokenizer, and nothing but None, soon, where it has not or lies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sessions_app.llm import tokenizing
from sessions_app.llm.providers import GatewaySettings, Provider, TokenizeMode
from sessions_app.llm.tokenizing import count_tokens, count_tokens_blocking
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.unit.llm_calls import CANARY_KEY, in_loop


@pytest.fixture(autouse=True)
def _fresh_memory() -> Iterator[None]:
    tokenizing.forget()
    yield
    tokenizing.forget()


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as scripted:
        yield scripted


def answer(body: Any) -> Reply:
    return Reply(raw=json.dumps(body).encode(), as_json=True)


def llamacpp(body: Any) -> Reply:
    """One token a word, as llama.cpp answers."""
    return answer({"tokens": list(range(len(body["content"].split())))})


def vllm(body: Any) -> Reply:
    count = len(body["prompt"].split())
    return answer({"count": count, "max_model_len": 4096, "tokens": list(range(count)), "token_strs": None})


def settings(base_url: str, tokenize: TokenizeMode = "auto", key: str = CANARY_KEY) -> GatewaySettings:
    return GatewaySettings(
        providers={"default": Provider("default", base_url, key, tokenize=tokenize)},
        connect_timeout_s=1,
        read_timeout_s=1,
        total_timeout_s=1,
        max_retries=0,
    )


def count(config: GatewaySettings, *texts: str, model: str = "m") -> list[int] | None:
    return in_loop(lambda: count_tokens(provider="default", model=model, texts=texts, config=config))


@pytest.mark.parametrize("tokenizer", [llamacpp, vllm])
@pytest.mark.parametrize("is_probed", [True, False])
def test_each_text_is_counted_by_the_providers_own_tokenizer(
    provider: ScriptedProvider, tokenizer: Any, is_probed: bool
) -> None:
    provider.tokenizer = tokenizer
    config = settings(provider.base_url, "auto" if is_probed else tokenizer.__name__)
    assert count(config, "one two three", "", "one", "one two three") == [3, 0, 1, 3]
    assert len(provider.tokenize_journal) == 2 + is_probed
    assert {exchange.path for exchange in provider.tokenize_journal} == {"/tokenize"}
    assert list(provider.journal) == []


def test_a_request_is_what_the_server_reads(provider: ScriptedProvider) -> None:
    provider.tokenizer = vllm
    count(settings(provider.base_url), "a\x00b \ud800", model="org/model")
    probe, asked = provider.tokenize_journal
    assert probe.body == {"model": "org/model", "content": "a", "prompt": "a", "add_special_tokens": False}
    assert asked.body == {"model": "org/model", "prompt": "ab \ufffd", "add_special_tokens": False}
    assert asked.headers["authorization"] == f"Bearer {CANARY_KEY}"


def test_the_root_is_what_stands_before_v1(provider: ScriptedProvider) -> None:
    provider.tokenizer = llamacpp
    assert count(settings(provider.url_of("inner")), "a b") == [2]
    assert provider.tokenize_journal[0].path == "/inner/tokenize"


def test_a_provider_without_a_tokenizer_is_asked_once_and_never_told_a_text(provider: ScriptedProvider) -> None:
    config = settings(provider.base_url)
    assert [count(config, "secret text"), count(config, "another")] == [None, None]
    (probe,) = provider.tokenize_journal
    assert "secret" not in json.dumps(probe.body)


def test_a_no_counts_for_a_while_and_then_the_server_is_asked_again(
    provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "NO_FOR_S", 0.2)
    config = settings(provider.base_url)
    assert count(config, "a b") is None
    provider.tokenizer = llamacpp
    assert count(config, "a b") is None
    time.sleep(0.25)
    assert count(config, "a b") == [2]


def test_a_server_that_is_down_is_asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "PAUSE_S", 0.1)
    with ScriptedProvider() as down:
        port = down.port
    config = settings(f"http://127.0.0.1:{port}/v1")
    started = time.monotonic()
    assert count(config, "a b") is None
    assert time.monotonic() - started < 0.9
    time.sleep(0.15)
    with ScriptedProvider(port=port) as up:
        up.tokenizer = llamacpp
        assert count(config, "a b") == [2]


def test_switched_off_it_is_never_asked(provider: ScriptedProvider) -> None:
    provider.tokenizer = llamacpp
    assert count(settings(provider.base_url, "off"), "a b") is None
    assert list(provider.tokenize_journal) == []


def test_an_unknown_provider_and_no_texts_need_nobody(provider: ScriptedProvider) -> None:
    config = settings(provider.base_url)
    assert in_loop(lambda: count_tokens(provider="other", model="m", texts=["a"], config=config)) is None
    assert count(config) == []
    assert count(config, "") == [0]
    assert list(provider.tokenize_journal) == []


LIES = [
    {},
    {"tokens": None},
    {"tokens": "abc"},
    {"tokens": ["a", "b"]},
    {"tokens": [1, -2]},
    {"tokens": [1.0]},
    {"tokens": [True]},
    {"tokens": []},
    {"tokens": list(range(2_000))},
    {"count": -3},
    {"count": "3"},
    {"count": 3.0},
    {"count": True},
    {"count": None},
    {"count": 0},
    {"count": 10**9},
    {"count": 3, "tokens": [1]},
    [1, 2],
    "text",
]


@pytest.mark.parametrize("lie", LIES, ids=json.dumps)
def test_a_tokenizer_that_lies_is_as_good_as_none(provider: ScriptedProvider, lie: Any) -> None:
    provider.tokenizer = lambda _body: answer(lie)
    for mode in ("auto", "llamacpp", "vllm"):
        tokenizing.forget()
        config = settings(provider.base_url, mode)  # type: ignore[arg-type]
        if mode == "vllm" or "count" not in lie or mode == "auto":
            assert count(config, "one two three") is None


@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw=b"not json", as_json=True),
        Reply(raw=b"[" * 90_000, as_json=True),
        Reply(raw=b'{"tokens": [' + b"1," * 5_000_000, as_json=True, piece_bytes=65_536),
        Reply(raw=b"", as_json=True),
        Reply(raw=b'{"tokens": [1]}', as_json=True, headers={"Content-Encoding": "gzip"}),
        Reply(status=401),
        Reply(status=302, headers={"Location": "http://evil.example/tokenize"}),
        Reply(status=500),
        Reply(fault="drop"),
        Reply(fault="drop_reset"),
        Reply(raw=b'{"tokens": [1', as_json=True, fault="cut"),
    ],
    ids=range(11),
)
def test_a_tokenizer_that_fails_is_as_good_as_none(provider: ScriptedProvider, reply: Reply) -> None:
    provider.tokenizer = lambda _body: reply
    started = time.monotonic()
    for mode in ("auto", "llamacpp"):
        tokenizing.forget()
        assert count(settings(provider.base_url, mode), "a b") is None  # type: ignore[arg-type]
    assert time.monotonic() - started < 3
    assert provider.wait_for(lambda: provider.open_connections == 0, timeout_s=1.0)


@pytest.mark.parametrize("reply", [Reply(fault="hang"), Reply(raw=b'{"tok', as_json=True, fault="stall")])
def test_a_tokenizer_that_hangs_is_given_up_after_a_second(provider: ScriptedProvider, reply: Reply) -> None:
    provider.tokenizer = lambda _body: reply
    started = time.monotonic()
    assert count(settings(provider.base_url), "a b") is None
    assert 0.9 < time.monotonic() - started < 2
    assert provider.wait_for(lambda: provider.open_connections == 0, timeout_s=1.0)


def test_a_tokenizer_that_fails_later_pauses_and_comes_back(
    provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "PAUSE_S", 0.2)
    provider.tokenizer = llamacpp
    config = settings(provider.base_url)
    assert count(config, "a b") == [2]
    provider.tokenizer = lambda _body: Reply(status=503)
    assert [count(config, "c d"), count(config, "e f")] == [None, None]
    # Probe, one that counted, one that failed; the pause spared the next.
    assert len(provider.tokenize_journal) == 3
    # What was counted before is still known.
    assert count(config, "a b") == [2]
    provider.tokenizer = llamacpp
    time.sleep(0.25)
    assert count(config, "c d") == [2]
    assert [exchange.body.get("prompt") for exchange in provider.tokenize_journal] == ["a", None, None, None]


def test_a_count_is_asked_for_once_per_text_and_model(provider: ScriptedProvider) -> None:
    provider.tokenizer = llamacpp
    config = settings(provider.base_url)
    assert [count(config, "a b"), count(config, "a b"), count(config, "a b", model="other")] == [[2], [2], [2]]
    assert len(provider.tokenize_journal) == 1 + 2


def test_the_memory_is_bounded(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "REMEMBERED_MAX", 3)
    provider.tokenizer = llamacpp
    config = settings(provider.base_url)
    texts = [f"text {number}" for number in range(10)]
    assert count(config, *texts) == [2] * 10
    assert len(tokenizing._counts) == 3


def test_many_texts_are_asked_for_a_few_at_a_time(provider: ScriptedProvider) -> None:
    provider.tokenizer = llamacpp
    config = settings(provider.base_url)
    assert count(config, *(f"text {number}" for number in range(100))) == [2] * 100
    assert len({exchange.connection for exchange in provider.tokenize_journal}) <= tokenizing.PARALLEL_MAX


def test_a_slow_tokenizer_is_not_waited_for_and_what_it_counted_is_kept(
    provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "TOTAL_MAX_S", 0.5)
    monkeypatch.setattr(tokenizing, "PAUSE_S", 0.0)
    provider.tokenizer = lambda body: Reply(raw=llamacpp(body).raw, as_json=True, first_delay_s=0.1)
    config = settings(provider.base_url)
    texts = [f"text {number}" for number in range(30)]
    started = time.monotonic()
    assert count(config, *texts) is None
    assert time.monotonic() - started < 1.5
    assert len(tokenizing._counts) >= 4
    provider.tokenizer = llamacpp
    assert count(config, *texts) == [2] * 30


def test_callers_at_the_same_time_share_one_probe(provider: ScriptedProvider) -> None:
    provider.tokenizer = lambda body: Reply(raw=llamacpp(body).raw, as_json=True, first_delay_s=0.1)
    config = settings(provider.base_url)

    async def twenty() -> list[list[int] | None]:
        calls = (count_tokens(provider="default", model="m", texts=[f"a b {n}"], config=config) for n in range(20))
        return await asyncio.gather(*calls)

    assert in_loop(twenty) == [[3]] * 20
    assert [exchange.body.get("prompt") for exchange in provider.tokenize_journal].count("a") == 1


def test_a_caller_that_leaves_while_probing_leaves_the_question_open(provider: ScriptedProvider) -> None:
    provider.tokenizer = lambda body: Reply(raw=llamacpp(body).raw, as_json=True, first_delay_s=0.3)
    config = settings(provider.base_url)

    async def leave() -> None:
        asking = asyncio.create_task(count_tokens(provider="default", model="m", texts=["a"], config=config))
        waiting = asyncio.create_task(count_tokens(provider="default", model="m", texts=["a"], config=config))
        await asyncio.sleep(0.1)
        asking.cancel()
        assert await waiting is None

    in_loop(leave)
    provider.tokenizer = llamacpp
    assert count(config, "a b") == [2]


def test_code_without_a_loop_gets_the_same_counts(provider: ScriptedProvider) -> None:
    provider.tokenizer = llamacpp
    config = settings(provider.base_url)

    def ask(number: int) -> list[int] | None:
        return count_tokens_blocking(provider="default", model="m", texts=[f"a b {number}"], config=config)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(40))) == [[3]] * 40
    assert [exchange.body.get("prompt") for exchange in provider.tokenize_journal].count("a") == 1


def test_code_without_a_loop_waits_no_longer_than_it_said(provider: ScriptedProvider) -> None:
    provider.tokenizer = lambda _body: Reply(fault="hang")
    config = settings(provider.base_url)
    started = time.monotonic()
    assert count_tokens_blocking(provider="default", model="m", texts=["a"], config=config, timeout_s=0.2) is None
    assert time.monotonic() - started < 0.8


def test_an_overlong_text_is_not_sent(provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "TEXT_MAX_CHARS", 10)
    provider.tokenizer = llamacpp
    assert count(settings(provider.base_url), "a" * 11) is None
    assert list(provider.tokenize_journal) == []

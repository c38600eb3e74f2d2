"""Every wait and every size has an end."""

from __future__ import annotations

import socket

import pytest

from pricing.rating import TokenPools
from sessions_app.llm.answer import TEXT_CHARS_PER_TOKEN, TEXT_MIN_CHARS
from sessions_app.llm.types import ProviderFailure
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.unit.llm_calls import ESTIMATED_INPUT, ask, ask_at, make_request

SILENT = ProviderFailure("provider_timeout", "The model provider was silent for too long.", None, None)
TOO_LONG = ProviderFailure("provider_timeout", "The model provider took too long for the whole answer.", None, None)
RUNAWAY = "The model provider sent far more than was asked for, so the answer was stopped."
FINISHED = b'data: {"choices": [{"delta": {"content": "done"}, "finish_reason": "stop"}]}\n\n'


def test_silence_before_the_status_is_a_timeout_and_not_tried_again() -> None:
    result = ask(Reply(fault="hang"), read_timeout_s=0.2)
    assert (result.status, result.pools, result.usage_source) == ("timeout", TokenPools(), "none")
    assert (result.failure, result.attempts) == (SILENT, 1)
    assert 200 <= result.latency_ms < 3_000


def test_silence_before_any_text_is_a_timeout() -> None:
    result = ask(Reply(chunks=({"role": "assistant"},), fault="stall", fault_after=1), read_timeout_s=0.2)
    assert (result.status, result.failure, result.pools, result.attempts) == ("timeout", SILENT, TokenPools(), 1)


def test_silence_after_some_text_is_partial_with_the_text_billed() -> None:
    result = ask(Reply(chunks=("12345", "x"), fault="stall", fault_after=1), read_timeout_s=0.2)
    assert (result.status, result.text, result.failure) == ("partial", "12345", SILENT)
    assert (result.pools, result.usage_source) == (TokenPools(input_fresh=ESTIMATED_INPUT, output=2), "estimated")


def test_silence_is_measured_between_bytes_and_not_from_the_start() -> None:
    result = ask(Reply(chunks=tuple("abcdef"), delay_s=0.15), read_timeout_s=0.6)
    assert (result.status, result.text) == ("success", "abcdef")


def test_the_total_time_bounds_a_provider_that_never_falls_silent() -> None:
    result = ask(Reply(chunks=("x",) * 1_000, delay_s=0.02), total_timeout_s=0.3)
    assert (result.status, result.failure, result.usage_source) == ("partial", TOO_LONG, "estimated")
    assert 300 <= result.latency_ms < 3_000


def test_the_total_time_bounds_the_wait_for_a_first_text() -> None:
    result = ask(Reply(first_delay_s=30), total_timeout_s=0.2)
    assert (result.status, result.failure, result.pools) == ("timeout", TOO_LONG, TokenPools())


def test_the_total_time_includes_retries() -> None:
    with ScriptedProvider(lambda _body: Reply(status=503, first_delay_s=0.5)) as provider:
        result = ask_at(provider.base_url, total_timeout_s=0.9, max_retries=10)
    assert (result.status, result.failure, result.attempts) == ("timeout", TOO_LONG, 2)
    assert 900 <= result.latency_ms < 3_000


def test_a_timed_out_call_closes_its_socket() -> None:
    with ScriptedProvider(lambda _body: Reply(first_delay_s=30)) as provider:
        ask_at(provider.base_url, total_timeout_s=0.2)
        assert provider.wait_for(lambda: provider.open_connections == 0, timeout_s=1.0)
        assert provider.journal[0].client_closed_at is not None


def test_a_host_that_does_not_accept_is_a_timeout_after_the_retries() -> None:
    with socket.socket() as full:
        # A listener whose queue is full leaves further connections unanswered.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        result = ask_at(f"http://127.0.0.1:{port}/v1", connect_timeout_s=0.2, max_retries=1)
        for each in waiting:
            each.close()
    detail = "The model provider did not accept a connection in time."
    assert result.failure == ProviderFailure("provider_timeout", detail, None, None)
    assert (result.status, result.attempts) == ("timeout", 2)


def test_a_line_without_end_is_stopped() -> None:
    with ScriptedProvider(lambda _body: Reply(chunks=("kept",), fault="endless_line", fault_after=1)) as provider:
        result = ask_at(provider.base_url)
        sent_bytes = provider.journal[0].sent_bytes
    assert (result.status, result.text) == ("partial", "kept")
    assert result.failure == ProviderFailure("provider_error", RUNAWAY, None, 200)
    assert sent_bytes < 64 * 1_048_576


def test_a_provider_that_ignores_max_tokens_is_stopped_and_billed_for_what_is_kept() -> None:
    with ScriptedProvider(lambda _body: Reply(chunks=("x" * 1_000,), fault="endless_text")) as provider:
        result = ask_at(provider.base_url, request=make_request(max_output_tokens=10))
        assert provider.wait_for(lambda: provider.open_connections == 0, timeout_s=1.0)
    room_chars = TEXT_MIN_CHARS + 10 * TEXT_CHARS_PER_TOKEN
    assert (result.status, result.text) == ("partial", "x" * room_chars)
    assert result.failure == ProviderFailure("provider_error", RUNAWAY, None, 200)
    assert result.pools == TokenPools(input_fresh=ESTIMATED_INPUT, output=room_chars // 4)


def test_an_answer_as_long_as_asked_for_is_not_stopped() -> None:
    result = ask(Reply(chunks=("abcd",) * 1_000), request=make_request(max_output_tokens=1_000))
    assert (result.status, len(result.text)) == ("success", 4_000)


def test_an_endless_json_body_is_stopped() -> None:
    result = ask(Reply(raw=b'{"choices": "' + b"x" * 6_000_000, piece_bytes=65_536))
    assert result.failure == ProviderFailure("provider_error", RUNAWAY, None, 200)
    assert result.status == "error"


def test_an_endless_error_body_is_not_read_to_its_end() -> None:
    result = ask(Reply(status=400, raw=b'{"error": {"message": "' + b"x" * 6_000_000, piece_bytes=65_536))
    assert result.failure == ProviderFailure("provider_error", "The model provider answered HTTP 400.", None, 400)


def test_an_error_body_that_stalls_delays_the_refusal_for_two_seconds_at_most() -> None:
    result = ask(Reply(status=400, raw=b'{"error": ', fault="stall"), read_timeout_s=30)
    assert result.failure == ProviderFailure("provider_error", "The model provider answered HTTP 400.", None, 400)
    assert result.latency_ms < 4_000


@pytest.mark.parametrize(("tail", "after_finish_max_s"), [(b"", 0.3), (b"data: [DONE]\n\n", 60.0)])
def test_a_provider_that_stays_open_after_the_answer_is_not_waited_for(
    tail: bytes, after_finish_max_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.llm.exchange.AFTER_FINISH_MAX_S", after_finish_max_s)
    result = ask(Reply(raw=FINISHED + tail, keeps_open=True))
    assert (result.status, result.text, result.failure) == ("success", "done", None)
    assert result.latency_ms < 3_000

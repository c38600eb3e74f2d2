"""What a provider does wrong inside a 200, and what of it is kept and billed."""

from __future__ import annotations

import pytest

from pricing.rating import TokenPools
from sessions_app.llm.types import ChatResult, ProviderFailure
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.scripted_reply import Fault
from sessions_app.tests.unit.llm_calls import (
    ESTIMATED_INPUT,
    Outcome,
    ask,
    call,
    in_loop,
    make_request,
    make_settings,
)

CUT = ProviderFailure("provider_error", "The model provider's answer was cut before its end.", None, 200)
MALFORMED = "The model provider sent something that is not part of a chat completion."
USAGE_SO_FAR = {"prompt_tokens": 12, "completion_tokens": 2}
SAID_AND_FINISHED = (
    b'data: {"choices": [{"delta": {"content": "done"}}]}\n\n'
    b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
)


def kept(result: ChatResult) -> tuple[str, str, str, TokenPools]:
    return result.status, result.text, result.usage_source, result.pools


@pytest.mark.parametrize("fault", ["end", "cut", "reset"])
def test_a_cut_after_some_text_is_partial_and_billed_by_estimate(fault: Fault) -> None:
    result = ask(Reply(chunks=("12345", "678", "never"), fault=fault, fault_after=2))
    assert kept(result) == ("partial", "12345678", "estimated", TokenPools(input_fresh=ESTIMATED_INPUT, output=2))
    assert (result.failure, result.finish_reason, result.attempts) == (CUT, None, 1)


@pytest.mark.parametrize("fault", ["end", "cut", "reset"])
def test_a_cut_after_some_text_is_billed_as_reported_so_far(fault: Fault) -> None:
    result = ask(Reply(usage=USAGE_SO_FAR, usage_in_every_chunk=True, fault=fault, fault_after=2))
    assert kept(result) == ("partial", "Hello from", "partial", TokenPools(input_fresh=12, output=2))
    assert result.failure == CUT


@pytest.mark.parametrize("fault", ["end", "cut", "reset"])
def test_a_cut_before_any_text_is_an_error_without_charge(fault: Fault) -> None:
    reply = Reply(chunks=({"role": "assistant"},), usage=USAGE_SO_FAR, usage_in_every_chunk=True, fault=fault)
    result = ask(Reply(chunks=reply.chunks, usage=reply.usage, usage_in_every_chunk=True, fault=fault, fault_after=1))
    assert kept(result) == ("error", "", "none", TokenPools())
    assert (result.failure, result.raw_usage, result.attempts) == (CUT, USAGE_SO_FAR, 1)


@pytest.mark.parametrize("fault", ["error_frame", "error_event"])
def test_text_before_an_error_frame_is_kept_and_the_frames_own_text_is_not(fault: Fault) -> None:
    error = {"message": "Overloaded, try later.", "code": 529}
    result = ask(Reply(chunks=("12345", "never"), fault=fault, fault_after=1, error=error))
    assert kept(result) == ("partial", "12345", "estimated", TokenPools(input_fresh=ESTIMATED_INPUT, output=2))
    detail = "The model provider reported an error: Overloaded, try later."
    assert result.failure == ProviderFailure("provider_error", detail, None, 200)


@pytest.mark.parametrize("fault", ["error_frame", "error_event"])
def test_an_error_frame_before_any_text_is_an_error_without_charge_and_not_retried(fault: Fault) -> None:
    result = ask(Reply(fault=fault, error={"message": "no"}))
    assert kept(result) == ("error", "", "none", TokenPools())
    assert result.failure is not None
    assert (result.failure.code, result.attempts) == ("provider_error", 1)


def test_an_error_frame_that_carries_choices_gives_no_text() -> None:
    raw = (
        b'data: {"error": {"message": "bad"}, "choices": [{"delta": {"content": "bad"}, "finish_reason": "stop"}]}\n\n'
    )
    assert kept(ask(Reply(raw=raw))) == ("error", "", "none", TokenPools())


def test_an_error_in_a_json_body_is_an_error_without_text() -> None:
    result = ask(Reply(as_json=True, chunks=("not an answer",), error={"message": "quota"}))
    assert kept(result) == ("error", "", "none", TokenPools())
    assert result.failure is not None
    assert result.failure.detail == "The model provider reported an error: quota."


def test_an_error_after_the_finish_reason_spoils_the_answer() -> None:
    result = ask(Reply(raw=SAID_AND_FINISHED + b'data: {"error": {"message": "late"}}\n\n'))
    assert (result.status, result.text) == ("partial", "done")


def test_a_finish_reason_error_is_an_error() -> None:
    result = ask(Reply(finish_reason="error", usage=None))
    assert (result.status, result.text) == ("partial", "Hello from the script.")
    assert result.failure == ProviderFailure("provider_error", "The model provider reported an error.", None, 200)


def test_a_json_body_without_finish_reason_counts_as_cut() -> None:
    result = ask(Reply(as_json=True, finish_reason=None, usage=None))
    assert (result.status, result.failure) == ("partial", CUT)


def test_a_stream_cut_in_the_middle_of_a_frame_keeps_the_whole_frames() -> None:
    raw = b'data: {"choices": [{"delta": {"content": "kept"}}]}\n\ndata: {"choices": [{"delta": {"content": "lo'
    result = ask(Reply(raw=raw))
    assert (result.status, result.text, result.failure) == ("partial", "kept", CUT)


@pytest.mark.parametrize("junk", [b"junk", b"[]", b"7", b'{"choices": '])
def test_a_frame_that_is_no_json_object_ends_the_answer(junk: bytes) -> None:
    raw = b'data: {"choices": [{"delta": {"content": "kept"}}]}\n\ndata: ' + junk + b"\n\n"
    result = ask(Reply(raw=raw + SAID_AND_FINISHED))
    assert (result.status, result.text) == ("partial", "kept")
    assert result.failure == ProviderFailure("provider_error", MALFORMED, None, 200)


@pytest.mark.parametrize("raw", [b"<html><body>Welcome</body></html>", b"OK", b'"text"'])
def test_a_page_that_is_no_completion_is_an_error(raw: bytes) -> None:
    assert kept(ask(Reply(raw=raw))) == ("error", "", "none", TokenPools())


def test_a_compressed_answer_that_nobody_asked_for_is_refused() -> None:
    result = ask(Reply(headers={"Content-Encoding": "gzip"}))
    assert result.failure == ProviderFailure("provider_error", MALFORMED, None, 200)


def test_a_connection_that_breaks_after_the_finish_reason_loses_nothing() -> None:
    with ScriptedProvider(lambda _body: Reply(raw=SAID_AND_FINISHED, fault="reset")) as provider:
        outcome = Outcome()
        in_loop(lambda: call(make_settings(provider.base_url), outcome))
    result = outcome.result
    assert (result.status, result.text, result.failure) == ("success", "done", None)
    assert (result.usage_source, result.pools) == ("estimated", TokenPools(input_fresh=ESTIMATED_INPUT, output=1))


def test_a_provider_that_is_not_configured_is_a_result_without_attempt() -> None:
    result = ask(Reply(), request=make_request(provider="gone"))
    assert kept(result) == ("error", "", "none", TokenPools())
    detail = "The model provider 'gone' is not configured."
    assert result.failure == ProviderFailure("provider_unavailable", detail, None, None)
    assert result.attempts == 0
    assert result.provider_model == "scripted-1"


@pytest.mark.parametrize("error", [RuntimeError, OSError, TimeoutError, ValueError])
def test_a_callback_that_fails_is_no_fault_of_the_provider_and_the_call_is_still_reported(
    error: type[Exception],
) -> None:
    from sessions_app.llm import gateway

    reports: list[ChatResult] = []

    def fail(_delta: str) -> None:
        raise error

    with ScriptedProvider() as provider:
        with pytest.raises(error):
            in_loop(
                lambda: gateway.complete(
                    make_request(), on_delta=fail, report=reports.append, config=make_settings(provider.base_url)
                )
            )
        assert len(provider.journal) == 1
    assert [(report.status, report.text, report.usage_source) for report in reports] == [
        ("partial", "Hello", "estimated")
    ]

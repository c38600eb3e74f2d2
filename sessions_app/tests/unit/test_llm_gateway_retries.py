"""Before the first byte of an answer a call is tried again; after it, never."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from pricing.rating import TokenPools
from sessions_app.llm.types import ProviderFailure
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.scripted_reply import Fault
from sessions_app.tests.unit.llm_calls import (
    Outcome,
    ask_at,
    call,
    in_loop,
    in_turn,
    make_settings,
)

WELL = Reply(chunks=("well",))
RETRYABLE = [408, 409, 425, 429, 500, 502, 503, 504, 529]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("status", RETRYABLE)
def test_a_passing_failure_is_tried_again(status: int) -> None:
    with ScriptedProvider(in_turn(Reply(status=status), WELL)) as provider:
        result = ask_at(provider.base_url)
    assert (result.status, result.text, result.attempts, result.failure) == ("success", "well", 2, None)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 402, 403, 404, 413, 422, 501])
def test_a_final_refusal_is_not_tried_again(status: int) -> None:
    with ScriptedProvider(lambda _body: Reply(status=status, headers={"Location": "/v1/elsewhere"})) as provider:
        result = ask_at(provider.base_url)
        assert len(provider.journal) == 1
    assert (result.status, result.pools, result.usage_source) == ("error", TokenPools(), "none")
    assert result.failure is not None
    assert (result.failure.code, result.failure.http_status) == ("provider_error", status)


@pytest.mark.parametrize(
    ("status", "call_status", "code"),
    [
        (429, "rate_limited", "provider_unavailable"),
        (503, "error", "provider_unavailable"),
        (529, "error", "provider_unavailable"),
        (408, "error", "provider_error"),
        (500, "error", "provider_error"),
        (502, "error", "provider_error"),
        (504, "error", "provider_error"),
    ],
)
def test_a_lasting_failure_ends_as_its_kind_after_all_attempts(status: int, call_status: str, code: str) -> None:
    with ScriptedProvider(lambda _body: Reply(status=status)) as provider:
        result = ask_at(provider.base_url)
        assert len(provider.journal) == 3
    assert (result.status, result.attempts, result.pools) == (call_status, 3, TokenPools())
    assert result.failure is not None
    assert (result.failure.code, result.failure.http_status) == (code, status)


def test_back_off_grows_between_attempts() -> None:
    with ScriptedProvider(lambda _body: Reply(status=500)) as provider:
        ask_at(provider.base_url, max_retries=3, backoff_base_s=0.1)
        at = [exchange.received_at for exchange in provider.journal]
    gaps_s = [later - earlier for earlier, later in pairwise(at)]
    for gap_s, full_s in zip(gaps_s, (0.1, 0.2, 0.4), strict=True):
        assert full_s / 2 <= gap_s < full_s + 1.0


def test_no_retries_means_one_attempt() -> None:
    with ScriptedProvider(lambda _body: Reply(status=500)) as provider:
        assert ask_at(provider.base_url, max_retries=0).attempts == 1


def test_retry_after_in_seconds_is_honoured() -> None:
    with ScriptedProvider(in_turn(Reply(status=429, headers={"Retry-After": "1"}), WELL)) as provider:
        assert ask_at(provider.base_url).status == "success"
        first, second = provider.journal
    assert 1.0 <= second.received_at - first.received_at < 4.0


def test_retry_after_as_a_date_is_honoured() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    with ScriptedProvider(in_turn(Reply(status=503, headers={"Retry-After": moment}), WELL)) as provider:
        assert ask_at(provider.base_url).status == "success"
        first, second = provider.journal
    assert 0.9 <= second.received_at - first.received_at < 5.0


def test_a_retry_after_beyond_patience_is_given_to_the_caller_at_once() -> None:
    with ScriptedProvider(lambda _body: Reply(status=429, headers={"Retry-After": "60"})) as provider:
        result = ask_at(provider.base_url)
    assert (result.status, result.attempts) == ("rate_limited", 1)
    assert result.latency_ms < 2_000
    assert result.failure == ProviderFailure(
        "provider_unavailable", "The model provider limits the rate of requests (HTTP 429).", 60.0, 429
    )


def test_a_retry_after_beyond_the_total_time_gives_up_at_once() -> None:
    with ScriptedProvider(lambda _body: Reply(status=503, headers={"Retry-After": "3"})) as provider:
        result = ask_at(provider.base_url, total_timeout_s=2.0)
    assert (result.status, result.attempts) == ("error", 1)
    assert result.latency_ms < 2_000


def test_a_short_message_of_the_provider_is_repeated() -> None:
    error = {"message": "This model's maximum context length is 8192 tokens.", "type": "invalid_request_error"}
    with ScriptedProvider(lambda _body: Reply(status=400, error=error)) as provider:
        failure = ask_at(provider.base_url).failure
    assert failure is not None
    assert failure.detail == (
        "The model provider answered HTTP 400: This model's maximum context length is 8192 tokens."
    )


def test_a_page_of_html_is_not_repeated() -> None:
    with ScriptedProvider(lambda _body: Reply(status=502, raw=b"<html>secret internals</html>")) as provider:
        failure = ask_at(provider.base_url, max_retries=0).failure
    assert failure == ProviderFailure("provider_error", "The model provider answered HTTP 502.", None, 502)


def test_a_refused_connection_is_tried_again_and_unavailable() -> None:
    result = ask_at(f"http://127.0.0.1:{free_port()}/v1")
    assert (result.status, result.attempts, result.pools) == ("error", 3, TokenPools())
    detail = "The model provider could not be reached."
    assert result.failure == ProviderFailure("provider_unavailable", detail, None, None)


def test_an_unknown_host_is_unavailable() -> None:
    failure = ask_at("http://nowhere.invalid/v1", max_retries=0).failure
    assert failure is not None
    assert failure.code == "provider_unavailable"


@pytest.mark.parametrize("fault", ["drop", "drop_reset"])
def test_a_new_connection_that_breaks_before_the_status_is_tried_within_the_budget(fault: Fault) -> None:
    with ScriptedProvider(in_turn(Reply(fault=fault), WELL)) as provider:
        assert ask_at(provider.base_url).attempts == 2
    with ScriptedProvider(lambda _body: Reply(fault=fault)) as provider:
        result = ask_at(provider.base_url)
        assert len(provider.journal) == 3
    assert result.failure is not None
    assert (result.status, result.failure.code) == ("error", "provider_unavailable")


@pytest.mark.parametrize("fault", ["drop", "drop_reset"])
def test_a_stale_connection_is_replaced_at_once_even_without_retries(fault: Fault) -> None:
    with ScriptedProvider(in_turn(WELL, Reply(fault=fault), WELL)) as provider:
        second = Outcome()

        async def two_calls() -> None:
            settings = make_settings(provider.base_url, max_retries=0, backoff_base_s=30)
            await call(settings, Outcome())
            await call(settings, second)

        in_loop(two_calls)
        assert [exchange.connection for exchange in provider.journal] == [1, 1, 2]
    assert (second.result.status, second.result.attempts) == ("success", 2)
    assert second.result.latency_ms < 2_000


@pytest.mark.parametrize("fault", ["cut", "reset", "end"])
def test_a_200_without_a_single_byte_is_tried_again(fault: Fault) -> None:
    with ScriptedProvider(in_turn(Reply(fault=fault), WELL)) as provider:
        result = ask_at(provider.base_url)
    assert (result.status, result.text, result.attempts) == ("success", "well", 2)


@pytest.mark.parametrize("fault", ["cut", "reset", "end", "error_frame"])
def test_after_the_first_byte_nothing_is_tried_again(fault: Fault) -> None:
    reply = Reply(chunks=("once",), fault=fault, fault_after=1, error={"message": "x"})
    with ScriptedProvider(in_turn(reply, WELL)) as provider:
        result = ask_at(provider.base_url)
        assert len(provider.journal) == 1
    assert (result.status, result.text, result.attempts) == ("partial", "once", 1)


def test_a_comment_is_a_first_byte_too() -> None:
    with ScriptedProvider(in_turn(Reply(raw=b": processing\n\n", fault="cut"), WELL)) as provider:
        assert ask_at(provider.base_url).attempts == 1

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from sessions_app.llm.faults import Fault, connection_fault, status_fault
from sessions_app.llm.retrying import Retries, parse_retry_after

NOW = datetime(2026, 2, 20, 12, 0, 0, tzinfo=UTC)


def refused(retry_after_s: float | None = None, *, http_status: int = 503) -> Fault:
    return status_fault(http_status, message="", retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("Fri, 20 Feb 2026 12:00:09 GMT", 9.0),
        ("Fri, 20 Feb 2026 12:00:09 -0000", 9.0),
        ("Fri, 20 Feb 2026 14:00:09 +0200", 9.0),
        ("Fri, 20 Feb 2026 11:59:00 GMT", 0.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("9" * 400, None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=NOW) == seconds


def test_back_off_doubles_with_jitter_until_the_budget_is_used() -> None:
    retries = Retries(max_retries=3, backoff_base_s=0.4)
    pauses = [retries.pause_s(refused(), left_s=100) for _ in range(4)]
    for pause, full in zip(pauses[:3], (0.4, 0.8, 1.6), strict=True):
        assert pause is not None
        assert full / 2 <= pause <= full
    assert pauses[3] is None


def test_back_off_never_exceeds_its_maximum() -> None:
    retries = Retries(max_retries=20, backoff_base_s=1.0)
    assert all((retries.pause_s(refused(), left_s=100) or 99) <= 8.0 for _ in range(20))


def test_retry_after_is_waited_for_and_never_undercut() -> None:
    pause = Retries(max_retries=1, backoff_base_s=0.5).pause_s(refused(7.0), left_s=100)
    assert pause is not None
    assert 7.0 <= pause <= 7.5


@pytest.mark.parametrize(("retry_after_s", "left_s"), [(20.1, 100.0), (7.0, 6.9), (7.0, 0.0)])
def test_a_retry_after_beyond_patience_or_time_left_gives_up_at_once(retry_after_s: float, left_s: float) -> None:
    assert Retries(max_retries=5, backoff_base_s=0.5).pause_s(refused(retry_after_s), left_s=left_s) is None


@pytest.mark.parametrize("http_status", [301, 400, 401, 402, 403, 404, 413, 422, 501])
def test_these_statuses_are_final(http_status: int) -> None:
    assert Retries(max_retries=5, backoff_base_s=0.5).pause_s(refused(http_status=http_status), left_s=100) is None


@pytest.mark.parametrize("http_status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_these_statuses_are_tried_again(http_status: int) -> None:
    assert Retries(max_retries=1, backoff_base_s=0.5).pause_s(refused(http_status=http_status), left_s=100) is not None


def test_a_stale_connection_is_replaced_at_once_and_once_without_using_the_budget() -> None:
    retries = Retries(max_retries=1, backoff_base_s=0.5)
    stale = connection_fault(httpx.RemoteProtocolError("x"), is_reused=True)
    assert retries.pause_s(stale, left_s=100) == 0.0
    second = retries.pause_s(stale, left_s=100)
    assert second is not None
    assert second >= 0.25
    assert retries.pause_s(stale, left_s=100) is None


@pytest.mark.parametrize("error", [httpx.ReadTimeout("x"), httpx.WriteTimeout("x")])
def test_silence_is_not_retried_because_the_provider_may_be_at_work(error: httpx.TransportError) -> None:
    fault = connection_fault(error, is_reused=False)
    assert (fault.status, fault.failure.code, fault.retry) == ("timeout", "provider_timeout", "never")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (httpx.ConnectTimeout("x"), "timeout", "provider_timeout"),
        (httpx.ConnectError("x"), "error", "provider_unavailable"),
        (httpx.ReadError("x"), "error", "provider_unavailable"),
        (OSError("x"), "error", "provider_unavailable"),
    ],
)
def test_a_connection_that_failed_is_tried_again(error: httpx.TransportError, status: str, code: str) -> None:
    fault = connection_fault(error, is_reused=False)
    assert (fault.status, fault.failure.code, fault.retry) == (status, code, "later")

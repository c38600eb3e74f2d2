"""What can go wrong with a provider, as one exception that carries its public failure and how to go on."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

import httpx

from sessions_app.llm.types import FailureCode, ProviderFailure

FaultStatus = Literal["error", "timeout", "rate_limited"]
Retry = Literal["never", "later", "at_once"]

UNAVAILABLE_STATUSES = frozenset({429, 503, 529})
RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class Fault(Exception):
    """Inside the package only: `gateway.complete` turns it into a result.

    `status` is the call's if no text came before. `retry` says whether another attempt may help and harms nobody.
    `spoils_answer` is False for faults of the connection: an answer that had its finish reason stands all the same.
    """

    def __init__(
        self, status: FaultStatus, failure: ProviderFailure, *, retry: Retry = "never", spoils_answer: bool = False
    ) -> None:
        super().__init__(failure.detail)
        self.status = status
        self.failure = failure
        self.retry = retry
        self.spoils_answer = spoils_answer


def connection_fault(error: httpx.TransportError | OSError, *, is_reused: bool) -> Fault:
    """Before the first byte of a 200 body. The exception's own text is not repeated: it may name hosts and URLs."""
    match error:
        case httpx.ConnectTimeout():
            return _timeout("The model provider did not accept a connection in time.", retry="later")
        case httpx.PoolTimeout():
            return _unavailable("All connections to the model provider are in use.", retry="never")
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            # Not again: the provider may be at work on it, and a second request would be paid twice.
            return silence_fault()
        case httpx.ConnectError():
            return _unavailable("The model provider could not be reached.", retry="later")
        case httpx.LocalProtocolError() | httpx.UnsupportedProtocol():
            return Fault("error", _failure("provider_error", "The request to the model provider could not be formed."))
    # A kept-alive connection may have been closed at the other end while idle; nothing was lost but the socket.
    return _unavailable("The model provider closed the connection.", retry="at_once" if is_reused else "later")


def silence_fault() -> Fault:
    return _timeout("The model provider was silent for too long.", retry="never")


def total_fault() -> Fault:
    return _timeout("The model provider took too long for the whole answer.", retry="never")


def cut_fault(*, has_bytes: bool) -> Fault:
    """A 200 that ended without a finish reason. Without a single byte it is as good as no answer: it may be retried."""
    if has_bytes:
        return Fault("error", _failure("provider_error", "The model provider's answer was cut before its end.", 200))
    return Fault("error", _failure("provider_error", "The model provider sent no answer.", 200), retry="later")


def malformed_fault() -> Fault:
    detail = "The model provider sent something that is not part of a chat completion."
    return Fault("error", _failure("provider_error", detail, 200))


def runaway_fault() -> Fault:
    detail = "The model provider sent far more than was asked for, so the answer was stopped."
    return Fault("error", _failure("provider_error", detail, 200), spoils_answer=True)


def error_frame_fault(message: str) -> Fault:
    detail = _sentence("The model provider reported an error", message)
    return Fault("error", _failure("provider_error", detail, 200), spoils_answer=True)


def status_fault(http_status: int, *, message: str, retry_after_s: float | None) -> Fault:
    """An answer that is not a 2xx."""
    retry: Retry = "later" if http_status in RETRYABLE_STATUSES else "never"
    code: FailureCode = "provider_unavailable" if http_status in UNAVAILABLE_STATUSES else "provider_error"
    failure = _failure(code, _sentence(_status_words(http_status), message), http_status, retry_after_s)
    return Fault("rate_limited" if http_status == HTTPStatus.TOO_MANY_REQUESTS else "error", failure, retry=retry)


def unconfigured_fault(provider: str) -> Fault:
    return _unavailable(f"The model provider {provider[:64]!r} is not configured.", retry="never")


def broken_fault() -> Fault:
    """Our own bug, or the caller's callback raised: the call is still reported, so that it is still metered."""
    return Fault("error", _failure("provider_error", "The answer could not be processed."), spoils_answer=True)


def _status_words(http_status: int) -> str:
    if http_status == HTTPStatus.TOO_MANY_REQUESTS:
        return "The model provider limits the rate of requests (HTTP 429)"
    if http_status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"The model provider refused our credentials (HTTP {http_status})"
    if httpx.codes.is_redirect(http_status):
        return f"The model provider answered with a redirect, which is not followed (HTTP {http_status})"
    return f"The model provider answered HTTP {http_status}"


def _sentence(words: str, message: str) -> str:
    return f"{words}: {message.rstrip('.')}." if message.rstrip(".") else f"{words}."


def _failure(
    code: FailureCode, detail: str, http_status: int | None = None, retry_after_s: float | None = None
) -> ProviderFailure:
    return ProviderFailure(code=code, detail=detail, retry_after_s=retry_after_s, http_status=http_status)


def _timeout(detail: str, *, retry: Retry) -> Fault:
    return Fault("timeout", _failure("provider_timeout", detail), retry=retry)


def _unavailable(detail: str, *, retry: Retry) -> Fault:
    return Fault("error", _failure("provider_unavailable", detail), retry=retry)

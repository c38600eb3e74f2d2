"""What is counted of turns and calls. Plain functions, so that call sites say what happened and not how it is counted.

None of them waits or raises. What a call used and cost is not here: `billing.metrics` counts that when it is billed,
so that metrics and ledger tell the same story.
"""

from __future__ import annotations

from billing.ledger import MeteredCall
from config.core.metrics import counter, gauge, histogram, word
from sessions_app.llm.types import ChatResult
from sessions_app.tools.registry import TOOLS

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_FIRST_TEXT_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)

_TURNS_RUNNING = gauge("turns_running", "Turns that run in these processes now, by mode of the room.", ("mode",))
_TURNS_ENDED = counter("turns_ended_total", "Turns that ended, by mode of the room and status.", ("mode", "status"))
_TURN_DURATION = histogram(
    "turn_duration_seconds", "From the start of a turn's run to its settlement.", ("mode",), buckets=_SECONDS
)
_TURN_FIRST_TEXT = histogram(
    "turn_first_text_seconds",
    "From the start of a turn's run to its first text.",
    ("mode",),
    buckets=_FIRST_TEXT_SECONDS,
)
_COMPLETIONS_ENDED = counter("completions_ended_total", "Direct completions that ended, by status.", ("status",))
_TURNS_REFUSED = counter("turns_refused_total", "Turns that were not opened, by code of the refusal.", ("code",))
_TURNS_RECOVERED = counter("turns_recovered_total", "Turns whose process died, ended by somebody else.")
_CALL_FIRST_TOKEN = histogram(
    "llm_call_first_token_seconds",
    "From the request to the first text of an answer, by alias.",
    ("model_alias",),
    buckets=_FIRST_TEXT_SECONDS,
)
_PROVIDER_ERRORS = counter(
    "provider_errors_total", "Calls that a provider failed, retries used up, by code.", ("provider", "code")
)
_PROVIDER_RETRIES = counter("provider_retries_total", "Attempts after the first one, by provider.", ("provider",))
_FALLBACKS = counter(
    "fallbacks_used_total",
    "Calls made with the fallback of the alias that was asked for.",
    ("model_alias", "fallback_alias"),
)
_SUMMARIES = counter("summaries_total", "Summaries of long sessions that were made.")
_SUMMARY_FALLBACKS = counter(
    "summary_fallbacks_total", "Turns that pruned their history because no summary could be made.", ("reason",)
)
_ROUTING_FALLBACKS = counter(
    "routing_fallbacks_total", "Orchestrated turns whose routing call gave no usable plan.", ("reason",)
)

_TOOL_CALLS = counter(
    "tool_calls_total", "Calls of tools that models asked for, by how they ended.", ("tool", "status")
)


def tool_called(tool_name: str, status: str) -> None:
    # What a model calls is not ours to name: a tool that does not exist has one label.
    _TOOL_CALLS.labels(tool_name if tool_name in TOOLS else "unknown", status).inc()


def turn_started(mode: str) -> None:
    """A run begins in this process. Each start has one `turn_stopped`."""
    _TURNS_RUNNING.labels(mode).inc()


def turn_stopped(mode: str) -> None:
    """A run is over in this process, whether it was settled here, elsewhere or not yet."""
    _TURNS_RUNNING.labels(mode).dec()


def turn_ended(*, mode: str, status: str, duration_s: float | None = None, first_text_s: float | None = None) -> None:
    """A turn's outcome is committed. Said once, by whoever settled it: the run, or who recovered it (no times then)."""
    _TURNS_ENDED.labels(mode, status).inc()
    if duration_s is not None:
        _TURN_DURATION.labels(mode).observe(duration_s)
    if first_text_s is not None:
        _TURN_FIRST_TEXT.labels(mode).observe(first_text_s)


def turn_recovered(mode: str, status: str = "interrupted") -> None:
    """A turn of a process that died has been settled by this one."""
    _TURNS_RECOVERED.inc()
    turn_ended(mode=mode, status=status)


def completion_ended(status: str) -> None:
    """The outcome of a direct completion is committed."""
    _COMPLETIONS_ENDED.labels(status).inc()


def turn_refused(code: str) -> None:
    """Opening said no. `code` is the refusal's own (`DomainError.code`)."""
    _TURNS_REFUSED.labels(word(code)).inc()


def call_finished(*, result: ChatResult, call: MeteredCall) -> None:
    """A provider call is over, however it ended."""
    if result.first_text_ms is not None:
        _CALL_FIRST_TOKEN.labels(call.model_alias).observe(result.first_text_ms / 1000)
    if result.failure is not None:
        _PROVIDER_ERRORS.labels(call.provider, result.failure.code).inc()
    if result.attempts > 1:
        _PROVIDER_RETRIES.labels(call.provider).inc(result.attempts - 1)


def fallback_used(*, asked: str, used: str) -> None:
    """`asked` failed or was refused, and its fallback alias `used` was called instead."""
    _FALLBACKS.labels(asked, used).inc()


def summary_made() -> None:
    _SUMMARIES.inc()


def summary_fell_back(reason: str) -> None:
    """`reason` is a word of ours: `insufficient_credits`, `provider_error`, `empty`, `timeout` …"""
    _SUMMARY_FALLBACKS.labels(word(reason)).inc()


def routing_fell_back(reason: str) -> None:
    """`reason` is a word of ours: `malformed`, `unknown_agent`, `provider_error`, `insufficient_credits` …"""
    _ROUTING_FALLBACKS.labels(word(reason)).inc()

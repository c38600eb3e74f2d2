"""What is counted of calls and credits, when the transaction that bills them has been committed.

So the numbers agree with events and debits, whoever settled: a run, the sweeper, the OpenAI-compatible door. A retried
transaction is not counted twice, and one that was rolled back not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from config.core.metrics import counter, histogram, word

if TYPE_CHECKING:
    from billing.ledger.states import MeteredCall, MeteredTool

PROCESS_DIED = "process_died"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)

_CALLS = counter(
    "llm_calls_total", "LLM calls, by purpose, alias and how they ended.", ("purpose", "model_alias", "status")
)
_DURATION = histogram(
    "llm_call_duration_seconds", "LLM calls, retries included, by alias.", ("model_alias",), buckets=_SECONDS
)
_TOKENS = counter(
    "llm_tokens_total",
    "Tokens by alias and pool. Output has reasoning in it; the other pools are exclusive.",
    ("model_alias", "pool"),
)
# A float, here and nowhere else: a graph needs no eighth place, and no bill is made from a metric.
_CREDITS = counter(
    "credits_charged_total",
    "Credits that calls were charged, about, by alias and purpose; those of tools have no alias.",
    ("model_alias", "purpose"),
)
_USAGE_SOURCE = counter(
    "llm_calls_by_usage_source_total", "LLM calls by who said how many tokens they used.", ("usage_source",)
)
_USAGE_FLAGS = counter("llm_usage_flags_total", "Oddities in what providers reported, by flag.", ("flag",))
_ABOVE_HOLD = counter("charges_above_hold_total", "Settlements that charged more than was held for them.")
_LOST = counter("llm_calls_lost_total", "Calls whose process died: recorded without usage, billed nothing.")


def settled(calls: Sequence[MeteredCall], tools: Sequence[MeteredTool], *, is_above_hold: bool) -> None:
    """The calls of one piece of work are billed, and that is committed."""
    for call in calls:
        _count(call)
    for tool in tools:
        if tool.rated.credits_charged:
            _CREDITS.labels("", "tool").inc(float(tool.rated.credits_charged))
    if is_above_hold:
        _ABOVE_HOLD.inc()


def _count(call: MeteredCall) -> None:
    alias, pools = call.model_alias, call.pools
    _CALLS.labels(call.purpose, alias, call.status).inc()
    _USAGE_SOURCE.labels(call.usage_source).inc()
    for flag in call.usage_flags:
        _USAGE_FLAGS.labels(word(flag)).inc()
    if PROCESS_DIED in call.usage_flags:
        # How long it took is not known.
        _LOST.inc()
        return
    _DURATION.labels(alias).observe(call.latency_ms / 1000)
    for pool, tokens in (
        ("fresh", pools.input_fresh),
        ("cached", pools.input_cached),
        ("cache_write", pools.input_cache_write),
        ("output", pools.output),
        ("reasoning", pools.reasoning),
    ):
        if tokens:
            _TOKENS.labels(alias, pool).inc(tokens)
    if call.rated.credits_charged:
        _CREDITS.labels(alias, call.purpose).inc(float(call.rated.credits_charged))

"""Calls and credits are counted when their bill is committed: once, or not at all."""

from __future__ import annotations

import pytest
from django.db import transaction

from billing.tests.makers import make_call, make_hold, make_tool, make_wallet, settle
from config.core import metrics
from pricing.rating import TokenPools
from pricing.tests.makers import price_tool

pytestmark = pytest.mark.django_db
ONE_CREDIT = TokenPools(output=10_000)


class Counted:
    """What was added since it was made."""

    def __init__(self) -> None:
        self.before = self._now()

    def _now(self):
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for metric in metrics.gathered().collect()
            for sample in metric.samples
        }

    def __call__(self, name, **labels):
        key = (f"tallyroom_{name}", frozenset(labels.items()))
        return self._now().get(key, 0) - self.before.get(key, 0)


@pytest.fixture
def counted():
    return Counted()


def test_a_settlement_counts_its_calls(counted, django_capture_on_commit_callbacks):
    user_id = make_wallet("10")
    reference = make_hold(user_id, "5")
    pools = TokenPools(input_fresh=100, input_cached=50, output=10_000, reasoning=4_000)
    first = make_call(pools, turn_id=reference.id, latency_ms=1_500)
    second = make_call(
        ONE_CREDIT, turn_id=reference.id, call_index=2, purpose="summary", usage_source="estimated",
        usage_flags=("absurd_count", "Free text from somewhere"),
    )  # fmt: skip
    with django_capture_on_commit_callbacks(execute=True):
        settle(user_id, reference, first, second)
    alias = {"model_alias": "gpt-4o-mini"}
    assert counted("llm_calls_total", purpose="agent", status="success", **alias) == 1
    assert counted("llm_calls_total", purpose="summary", status="success", **alias) == 1
    assert counted("llm_call_duration_seconds_count", **alias) == 2
    assert counted("llm_call_duration_seconds_sum", **alias) == pytest.approx(1.501)
    tokens = {
        pool: counted("llm_tokens_total", pool=pool, **alias) for pool in ("fresh", "cached", "output", "reasoning")
    }
    assert tokens == {"fresh": 100, "cached": 50, "output": 20_000, "reasoning": 4_000}
    assert counted("credits_charged_total", purpose="summary", **alias) == pytest.approx(1)
    assert counted("llm_calls_by_usage_source_total", usage_source="estimated") == 1
    assert counted("llm_usage_flags_total", flag="absurd_count") == 1
    assert counted("llm_usage_flags_total", flag="other") == 1
    assert counted("charges_above_hold_total") == 0


def test_tools_that_cost_something_are_counted_as_credits_of_no_alias(counted, django_capture_on_commit_callbacks):
    price_tool("search", "0.25")
    user_id = make_wallet("10")
    reference = make_hold(user_id, "5")
    call, tool, failed = (
        make_call(ONE_CREDIT, turn_id=reference.id), make_tool(turn_id=reference.id),
        make_tool(status="error", call_index=2, turn_id=reference.id),
    )  # fmt: skip
    with django_capture_on_commit_callbacks(execute=True):
        settle(user_id, reference, call, tool, failed)
    assert counted("credits_charged_total", model_alias="", purpose="tool") == pytest.approx(0.25)
    assert counted("credits_charged_total", model_alias="gpt-4o-mini", purpose="agent") == pytest.approx(1)
    assert counted("llm_calls_total", model_alias="", purpose="tool", status="success") == 0


def test_a_replayed_settlement_is_not_counted_again(counted, django_capture_on_commit_callbacks):
    user_id = make_wallet("10")
    reference = make_hold(user_id, "5")
    call = make_call(ONE_CREDIT, turn_id=reference.id)
    with django_capture_on_commit_callbacks(execute=True):
        settle(user_id, reference, call)
        settle(user_id, reference, call)
    assert counted("credits_charged_total", purpose="agent", model_alias="gpt-4o-mini") == pytest.approx(1)


def test_what_was_rolled_back_is_not_counted(counted, django_capture_on_commit_callbacks):
    user_id = make_wallet("10")
    reference = make_hold(user_id, "5")
    with django_capture_on_commit_callbacks(execute=True):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            settle(user_id, reference, make_call(ONE_CREDIT, turn_id=reference.id))
            raise ZeroDivisionError
    assert counted("llm_calls_total", purpose="agent", model_alias="gpt-4o-mini", status="success") == 0


def test_a_charge_above_its_hold_is_counted(counted, django_capture_on_commit_callbacks):
    user_id = make_wallet("10")
    reference = make_hold(user_id, "0.5")
    with django_capture_on_commit_callbacks(execute=True):
        settle(user_id, reference, make_call(ONE_CREDIT, turn_id=reference.id))
    assert counted("charges_above_hold_total") == 1


def test_a_call_that_was_lost_with_its_process_has_no_duration(counted, django_capture_on_commit_callbacks):
    user_id = make_wallet("10")
    reference = make_hold(user_id, "5")
    lost = make_call(
        TokenPools(), turn_id=reference.id, status="error", usage_source="none", usage_flags=("process_died",)
    )
    with django_capture_on_commit_callbacks(execute=True):
        settle(user_id, reference, lost)
    assert counted("llm_calls_lost_total") == 1
    assert counted("llm_calls_total", purpose="agent", model_alias="gpt-4o-mini", status="error") == 1
    assert counted("llm_call_duration_seconds_count", model_alias="gpt-4o-mini") == 0

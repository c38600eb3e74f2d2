"""Sixty turns on the bundled model with a budget of 1,000 tokens: it never overflows, and the audit says why."""

from __future__ import annotations

import os
from decimal import Decimal

import pytest

from billing.models import LLMCallEvent
from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.models import SessionSummary, TurnContextAudit
from sessions_app.tests.e2e.servers import web_processes
from sessions_app.tests.makers import make_person, make_session

pytestmark = [pytest.mark.long, pytest.mark.server, pytest.mark.usefixtures("committed")]

TURNS = 60
CONTEXT_TOKENS = 1_000
TOPICS = ["the harbour", "a red bicycle", "the price of bread", "a rainy Tuesday", "my uncle in Porto", "old maps"]


@pytest.fixture(scope="module")
def bundled(committed):
    fields = {
        "multiplier": Decimal("0.1"), "provider": "default", "provider_model": "smollm2-135m",
        "context_tokens": CONTEXT_TOKENS,
    }  # fmt: skip
    put_model(pricing_version=SEED, model_alias="local", fields=fields, actor="test")
    return {"LLM_BASE_URL": os.environ["TEST_LLM_BASE_URL"], "LLM_API_KEY": os.environ["TEST_LLM_API_KEY"]}


@pytest.mark.timeout(300)
def test_sixty_turns_never_overflow_and_every_cut_is_explained(bundled):
    alice = make_person("alice", credits="100")
    session = make_session(alice, "ann", model_alias="local")
    with web_processes(1, **bundled) as (web,), web.client(alice.token) as client:
        for n in range(1, TURNS + 1):
            topic = TOPICS[n % len(TOPICS)]
            body = {"message": f"Number {n} is {topic}. What is it?", "max_output_tokens": 8}
            answer = client.post(f"/sessions/{session}/turns", json=body)
            assert answer.status_code == 201, answer.text
            turn = answer.json()
            assert (turn["status"], turn["warnings"], turn["summary_used_fallback"]) == ("completed", [], False)
        summaries = client.get(f"/sessions/{session}/summaries?page_size=200").json()["results"]
    # Every call was taken by the model, and none read more than its context.
    events = LLMCallEvent.objects.filter(session_id=session)
    assert {(event.status, event.usage_source) for event in events} == {("success", "provider")}
    assert max(event.total_tokens for event in events) <= CONTEXT_TOKENS
    assert events.filter(purpose="agent").count() == TURNS
    assert events.filter(purpose="summary").count() == len(summaries) > 2
    assert [summary["used_fallback"] for summary in summaries] == [False] * len(summaries)
    assert all(summary["text"] or summary["key_facts"] for summary in summaries)
    through = [summary["through_turn_index"] for summary in reversed(summaries)]
    assert through == sorted(through)
    audits = list(TurnContextAudit.objects.filter(session_id=session).order_by("id"))
    assert len(audits) == TURNS
    for n, audit in enumerate(audits, 1):
        # Nothing is missing without being accounted for: each message of the past was read, left out, or is in notes.
        assert audit.included_messages + audit.cut_messages + audit.summarised_messages == 2 * (n - 1)
        said = (
            f"{audit.cut_messages} messages ({audit.cut_tokens} tokens), through turn {audit.cut_through_turn_index},"
        )
        assert (said in audit.explanation) is (audit.cut_messages > 0)
        assert audit.required_tokens + audit.notes_tokens + audit.included_tokens <= audit.budget_tokens == 992
    assert audits[0].strategy == "all"
    assert audits[-1].strategy.startswith("summarised")
    assert SessionSummary.objects.filter(session_id=session).count() == len(summaries)

"""One turn on the real bundled model: real streaming, real token counts, and a bill that follows from them."""

from __future__ import annotations

import os
from decimal import Decimal

import pytest

from billing.models import LLMCallEvent
from pricing.services import put_model
from sessions_app.tests.e2e.servers import sse, web_processes
from sessions_app.tests.makers import make_person, make_session

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]


def test_a_round_table_on_the_real_model_is_billed_by_its_own_counts(committed):
    # `make test` starts the model and says where it is.
    base_url, key = os.environ["TEST_LLM_BASE_URL"], os.environ["TEST_LLM_API_KEY"]
    environment = {"LLM_BASE_URL": base_url, "LLM_API_KEY": key}
    put_model(
        pricing_version="2026-02-20",
        model_alias="local",
        fields={
            "multiplier": Decimal("0.1"),
            "provider": "default",
            "provider_model": "smollm2-135m",
            "context_tokens": 4096,
        },
        actor="test",
    )  # fmt: skip
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", model_alias="local")
    with web_processes(1, **environment) as (web,), web.client(alice.token) as client:
        body = {"message": "Say hello in five words.", "max_output_tokens": 16}
        events = sse(client.post(f"/sessions/{session}/turns/stream", json=body).text)
        done = events[-1][2]
        assert (events[-1][1], done["status"]) == ("done", "completed")
        turn = client.get(f"/turns/{done['turn_id']}").json()
    for message in turn["messages"][1:]:
        streamed = "".join(
            d["delta"] for _, name, d in events if name == "chunk" and d["agent_key"] == message["agent_key"]
        )
        assert streamed == message["content"] != ""
    calls = LLMCallEvent.objects.filter(turn_id=turn["id"])
    assert [(call.usage_source, call.status) for call in calls] == [("provider", "success")] * 2
    expected = Decimal(0)
    for call in calls:
        assert 0 < call.output_tokens <= 16
        read = Decimal("0.35") * call.input_tokens_fresh + Decimal("0.1") * call.input_tokens_cached
        expected += round((read + call.output_tokens) * Decimal("0.1") / 10_000, 8)
    assert Decimal(turn["balance_after"]) == 10 - expected

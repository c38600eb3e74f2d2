"""The bundled model, which knows no tools natively, answers from an uploaded PDF that it has searched by itself."""

from __future__ import annotations

import json
import os
from decimal import Decimal

import pytest

from billing.models import CreditTransaction, LLMCallEvent, ToolCallEvent
from files import parse_work
from files.tests import samples
from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.models import Agent, Session, TurnStep
from sessions_app.tests.e2e.servers import web_processes
from sessions_app.tests.makers import make_person, make_session

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
TEXT = "The lighthouse of Porto was painted green in 1931 by Maria Silva."


def test_a_file_search_on_the_bundled_model_answers_from_an_uploaded_pdf(committed, tmp_path, settings):
    base_url, key = os.environ["TEST_LLM_BASE_URL"], os.environ["TEST_LLM_API_KEY"]
    provider = {"base_url": base_url, "api_key_env": "BUNDLED_KEY", "tool_mode": "json_schema"}
    folder = {"BACKEND": "files.backends.FolderStorage", "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "files": folder}
    put_model(
        pricing_version=SEED, model_alias="bundled",
        fields={"multiplier": Decimal("0.1"), "provider": "bundled", "provider_model": "smollm2-135m",
                "context_tokens": 4096},
        actor="test",
    )  # fmt: skip
    environment = {
        "LLM_PROVIDERS": json.dumps({"bundled": provider}), "BUNDLED_KEY": key, "STORAGE_ROOT": str(tmp_path),
    }  # fmt: skip
    with web_processes(1, **environment) as (web,):
        alice = make_person("alice")
        session = make_session(alice, "ann", model_alias="bundled")
        Agent.objects.filter(user_id=alice.id).update(
            tool_permissions=["file_search"],
            role_prompt="First you use the tool file_search. Then you answer from what it found.",
        )
        room_id = Session.objects.get(pk=session).room_id
        with web.client(alice.token) as client:
            sent = client.post(f"/rooms/{room_id}/files", files={"file": ("lighthouse.pdf", samples.pdf(TEXT))})
            assert sent.status_code == 201, sent.text
            parse_work.parse_due()
            assert client.get(f"/files/{sent.json()['id']}").json()["parse_status"] == "completed"
            body = {"message": "Who painted the lighthouse of Porto?", "max_output_tokens": 40}
            turn = client.post(f"/sessions/{session}/turns", json=body).json()
    assert turn["status"] == "completed", turn
    # It looks, maybe again for the same, until it is stopped or has enough; how often is the model's own business.
    events = list(ToolCallEvent.objects.filter(turn_id=turn["id"]).order_by("call_index"))
    assert (events[0].tool_name, events[0].status) == ("file_search", "success")
    steps = list(TurnStep.objects.filter(turn_id=turn["id"]).order_by("step_index"))
    [first, *_] = (tool["result"] for step in steps for tool in (step.context or {}).get("tools", ()))
    assert "painted green in 1931 by Maria Silva" in first
    # What such a small model makes of it is its own business; that it was told, and spoke, is ours.
    [answer] = [message["content"] for message in turn["messages"] if message["role"] == "assistant"]
    assert answer.strip()
    print(answer)
    calls = LLMCallEvent.objects.filter(turn_id=turn["id"])
    assert {call.usage_source for call in calls} == {"provider"}
    debits = CreditTransaction.objects.filter(reference_id=turn["id"], kind="debit")
    assert sum(call.credits_charged for call in calls) == -sum(debit.amount for debit in debits)

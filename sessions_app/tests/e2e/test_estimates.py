"""An estimate is never below what a turn costs, also where providers count all that the bounds allow."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.llm.estimate import BOUND_BYTES_PER_TOKEN, input_bound
from sessions_app.llm.types import Message, ResponseSchema
from sessions_app.orchestration.routing import ANSWER_MAX_CHARS
from sessions_app.tests.e2e.test_orchestrator import kind_of, routing
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

ENVIRONMENT = {
    "ORCHESTRATOR_MODEL_ALIAS": "gemini-flash", "SESSION_TITLES": "model", "SUMMARY_MODEL_ALIAS": "gpt-4o",
    "LLM_MAX_RETRIES": "0",
}  # fmt: skip
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
# A token of an answer is as long as four tokens of the bound by which the next call reads it.
LONGEST_TOKEN = "x" * (4 * BOUND_BYTES_PER_TOKEN)
NOTES = json.dumps({"text": "They talked.", "key_facts": ["It rained."] * 3})


def dearest(text, body):
    """This answer, counted as high as a hold allows for."""
    messages = [Message(message["role"], message["content"]) for message in body["messages"]]
    schema = body.get("response_format", {}).get("json_schema", {})
    asked = ResponseSchema(schema["name"], schema["schema"]) if schema else None
    usage = {"prompt_tokens": input_bound(messages, schema=asked), "completion_tokens": body["max_tokens"]}
    return Reply(chunks=(text,), usage=usage)


def long_winded(body):
    """Everybody says as much as may be; the orchestrator wants two rounds and is never understood at once."""
    system, last = body["messages"][0]["content"], body["messages"][-1]["content"]
    if "You keep the notes" in system:
        return dearest(NOTES, body)
    if kind_of(body) == "router":
        understood = routing("ann", "ben", second_round=True)
        return dearest(understood if "names no agent" in last else "\U0001f600" * ANSWER_MAX_CHARS, body)
    # A title is asked of the answers; characters of four bytes make it read most.
    return dearest(LONGEST_TOKEN * body["max_tokens"], body)


def run(web, person, session, message, most):
    body = {"message": message, "max_output_tokens": most}
    with web.client(person.token) as client:
        estimate = client.post(f"/sessions/{session}/turns/estimate", json=body).json()
        turn = client.post(f"/sessions/{session}/turns", json=body).json()
        bill = client.get(f"/turns/{turn['id']}/bill").json()
    assert turn["status"] == "completed"
    return Decimal(estimate["credits_max"]), Decimal(bill["credits_charged"]), [c["purpose"] for c in bill["calls"]]


@pytest.mark.parametrize("most", [1, 20, 500])
@pytest.mark.parametrize("mode", ["roundtable", "orchestrator"])
def test_the_dearest_turn_costs_no_more_than_its_estimate(web, script, mode, most):
    script.reply = long_winded
    alice = make_person("alice", credits="100")
    session = make_session(alice, "ann", "ben", mode=mode)
    estimated, charged, purposes = run(web, alice, session, "hi \U0001f600", most)
    assert (
        purposes
        == {
            "roundtable": ["agent", "agent", "summary"],
            "orchestrator": [*["router", "router", "agent", "agent"] * 2, "synthesis", "summary"],
        }[mode]
    )
    assert charged <= estimated


@pytest.mark.parametrize("most", [1, 100])
def test_notes_are_estimated_with_what_their_readers_read(web, script, most):
    small = {"multiplier": Decimal(1), "provider_model": "narrow", "context_tokens": 1_000}
    put_model(pricing_version=SEED, model_alias="narrow", fields=small, actor="test")
    script.reply = lambda body: dearest(NOTES if "You keep the notes" in body["messages"][0]["content"] else "ok", body)
    alice = make_person("alice", credits="100")
    session = make_session(alice, "ann", "ben", model_alias="narrow")
    for _ in range(12):
        estimated, charged, purposes = run(web, alice, session, "word " * 80, most)
        assert charged <= estimated
        if purposes[0] == "summary":
            return
    raise AssertionError("no notes were made")


def test_an_estimate_refuses_nothing_that_a_turn_does_not(web, script):
    script.reply = long_winded
    small = {"multiplier": Decimal(1), "provider_model": "narrow", "context_tokens": 1_000}
    put_model(pricing_version=SEED, model_alias="narrow", fields=small, actor="test")
    alice = make_person("alice", credits="100")
    session = make_session(alice, "ann", "ben", model_alias="narrow")
    # The budget less role and frames: nothing of ann's answer fits ben's call.
    estimated, charged, _ = run(web, alice, session, "x" * 3 * (900 - 16 - 4), 100)
    assert charged <= estimated

"""Sessions that outgrow their context: notes are made; where they cannot be, messages are left out, and it is said."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import httpx
import pytest

from billing.models import LLMCallEvent
from billing.tests.makers import make_wallet
from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.context.conversation import Notes, as_summary, mark_of
from sessions_app.models import SessionSummary, Turn, TurnContextAudit, TurnStep
from sessions_app.tests.e2e.scraping import scrape
from sessions_app.tests.e2e.servers import SECRET_KEY, sse, web_processes
from sessions_app.tests.e2e.test_background import ASYNC, wait_for, worker
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.turns.recovery import recover

ENVIRONMENT = {"SUMMARY_MODEL_ALIAS": "notes", "LLM_MAX_RETRIES": "0", "LLM_READ_TIMEOUT_S": "1"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 100, "completion_tokens": 65}  # 100 OE tokens: 0.01 credits on small, 0.03 on notes
NOTES = {
    "text": "They talked.", "key_facts": ["It rained"], "decisions": ["Go"], "open_questions": [], "action_items": [],
}  # fmt: skip
SAID = Notes("They talked.", ("It rained",), ("Go",))
MESSAGE = "word " * 80


@pytest.fixture(scope="module", autouse=True)
def aliases(committed):
    for alias, multiplier, context_tokens in (("small", 1, 1_000), ("notes", 3, 8_000)):
        fields = {
            "multiplier": Decimal(multiplier), "provider_model": f"{alias}-model", "context_tokens": context_tokens,
        }  # fmt: skip
        put_model(pricing_version=SEED, model_alias=alias, fields=fields, actor="test")


def answering(notes):
    """Agents say "ok"; the notes are made as the test says."""
    reply = notes if isinstance(notes, Reply) else Reply(chunks=(notes,), usage=USAGE)
    return lambda body: reply if body["model"] == "notes-model" else Reply(chunks=("ok",), usage=USAGE)


def talk(web, person, session, turns, **headers):
    """Post so many turns; returns the last one."""
    with web.client(person.token) as client:
        for _ in range(turns):
            answer = client.post(
                f"/sessions/{session}/turns", json={"message": MESSAGE, "max_output_tokens": 65}, headers=headers
            )
            assert answer.status_code == 201, answer.text
    return answer.json()


def bill(web, person, turn):
    with web.client(person.token) as client:
        return client.get(f"/turns/{turn['id']}/bill").json()


# Six messages of 400 bytes and their answers fit 935 tokens with the seventh; then notes are due.
UNTIL_DUE = 6


def test_notes_are_the_first_metered_call_and_stand_for_what_they_were_made_of(web, provider, script):
    script.reply = answering(json.dumps(NOTES))
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="small")
    before = talk(web, alice, session, UNTIL_DUE)
    assert before["usage"]["llm_calls"] == 1
    assert not SessionSummary.objects.filter(session_id=session).exists()
    provider.journal.clear()
    turn = talk(web, alice, session, 1)
    assert (turn["status"], turn["summary_used_fallback"], turn["warnings"]) == ("completed", False, [])
    lines = bill(web, alice, turn)["calls"]
    assert [(c["call_index"], c["purpose"], c["agent_key"], c["model_alias"], c["credits_charged"]) for c in lines] == [
        (1, "summary", "notes", "notes", "0.03000000"),
        (2, "agent", "ann", "small", "0.01000000"),
    ]
    row = SessionSummary.objects.get(turn_id=turn["id"])
    assert (row.text, row.key_facts, row.decisions, row.open_questions, row.action_items) == (
        "They talked.", ["It rained"], ["Go"], [], [],
    )  # fmt: skip
    assert (row.used_fallback, row.model_alias, row.messages) == (False, "notes", 2 * row.through_turn_index)
    asked, answered = (exchange.body for exchange in provider.journal)
    assert asked["response_format"]["json_schema"]["name"] == "conversation_notes"
    assert asked["messages"][0]["role"] == "system"
    sent = answered["messages"]
    noted = as_summary(SAID, mark_of(session, secret=SECRET_KEY))
    assert sent[1] == {"role": "user", "content": noted.content}
    # What the notes stand for is not sent as well: system, notes, the rest of the history, the message.
    assert len(sent) == 2 + 2 * UNTIL_DUE - row.messages + 1
    audit = TurnContextAudit.objects.get(turn_id=turn["id"])
    assert (audit.strategy, audit.summarised_messages, audit.cut_messages) == ("summarised", row.messages, 0)
    assert audit.included_messages == 2 * UNTIL_DUE - row.messages
    with web.client(alice.token) as client:
        (shown,) = client.get(f"/sessions/{session}/summaries").json()["results"]
    assert (shown["text"], shown["turn_id"], shown["used_fallback"]) == ("They talked.", turn["id"], False)


def test_later_notes_are_made_of_the_earlier_ones(web, provider, script):
    script.reply = answering(json.dumps(NOTES))
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="small")
    talk(web, alice, session, 12)
    rows = list(SessionSummary.objects.filter(session_id=session).order_by("id"))
    assert len(rows) == 2
    assert rows[0].through_turn_index < rows[1].through_turn_index
    assert rows[1].messages == 2 * rows[1].through_turn_index
    second = [exchange.body for exchange in provider.journal if exchange.body["model"] == "notes-model"][-1]
    assert "Earlier notes:\nThey talked.\nKey facts:\n- It rained" in second["messages"][1]["content"]


FAILURES = [
    (Reply(status=503, headers={"Retry-After": "99"}), "provider_unavailable"),
    (Reply(status=400, error={"message": "no"}), "provider_error"),
    (Reply(fault="hang"), "provider_timeout"),
    (Reply(chunks=('{"text": "half',), fault="cut", fault_after=1, usage=USAGE), "provider_error"),
    ("I would rather not.", "unreadable"),
    ("", "unreadable"),
]


@pytest.mark.parametrize(("notes", "reason"), FAILURES)
def test_notes_that_cannot_be_made_are_done_without_and_it_is_said_everywhere(web, script, notes, reason):
    script.reply = answering(notes)
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="small")
    talk(web, alice, session, UNTIL_DUE)
    counted = scrape(web).sum("summary_fallbacks_total", reason=reason)
    with web.client(alice.token) as client:
        body = {"message": MESSAGE, "max_output_tokens": 65}
        events = sse(client.post(f"/sessions/{session}/turns/stream", json=body).text)
        done = events[-1][2]
        turn = client.get(f"/turns/{done['turn_id']}").json()
        context = client.get(f"/turns/{done['turn_id']}/context").json()
    assert (turn["status"], turn["summary_used_fallback"], done["summary_used_fallback"]) == ("completed", True, True)
    assert [warning["code"] for warning in turn["warnings"]] == ["summary_fallback"]
    assert [data["code"] for _, name, data in events if name == "warning"] == ["summary_fallback"]
    row = SessionSummary.objects.get(turn_id=turn["id"])
    assert (row.used_fallback, row.fallback_reason, row.text, row.messages) == (True, reason, "", 0)
    assert (context["strategy"], context["summary_used_fallback"]) == ("pruned", True)
    assert context["cut_messages"] == 2 * UNTIL_DUE - context["included_messages"] > 0
    assert f"({reason})" in context["explanation"]
    assert scrape(web).sum("summary_fallbacks_total", reason=reason) == counted + 1
    # The next turn tries again, and what it makes stands for everything.
    script.reply = answering(json.dumps(NOTES))
    mended = talk(web, alice, session, 1)
    assert mended["summary_used_fallback"] is False
    assert SessionSummary.objects.get(turn_id=mended["id"]).messages > 0


def test_a_provider_that_knows_no_structured_output_makes_notes_without_it(web, script):
    refuses = Reply(status=400, error={"message": "response_format is not supported"})
    made = answering(json.dumps(NOTES))
    script.reply = lambda body: refuses if "response_format" in body else made(body)
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="small")
    talk(web, alice, session, UNTIL_DUE)
    turn = talk(web, alice, session, 1)
    assert (turn["status"], turn["summary_used_fallback"]) == ("completed", False)
    lines = [(call["purpose"], call["status"]) for call in bill(web, alice, turn)["calls"]]
    assert lines == [("summary", "error"), ("summary", "success"), ("agent", "success")]
    assert SessionSummary.objects.get(turn_id=turn["id"]).text == "They talked."


def test_a_summary_alias_that_nobody_knows_is_no_reason_to_refuse_a_turn(committed, provider, script):
    script.reply = answering(json.dumps(NOTES))
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="small")
    environment = {"LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "SUMMARY_MODEL_ALIAS": "nobody"}
    with web_processes(1, **environment) as (web,):
        turn = talk(web, alice, session, UNTIL_DUE + 1)
    assert (turn["status"], turn["summary_used_fallback"], turn["usage"]["llm_calls"]) == ("completed", True, 1)
    assert SessionSummary.objects.get(turn_id=turn["id"]).fallback_reason == "unknown_model_alias"


def test_in_hard_mode_a_wallet_that_covers_only_the_answer_gets_the_answer(web, script):
    script.reply = answering(json.dumps(NOTES))
    alice = make_person("alice", credits="0.105")
    session = make_session(alice, "ann", model_alias="small")
    # Six turns cost 0.06. The answer is held for with about 0.04, the notes with more than 0.2.
    talk(web, alice, session, UNTIL_DUE)
    turn = talk(web, alice, session, 1)
    assert (turn["status"], turn["summary_used_fallback"]) == ("completed", True)
    assert [call["purpose"] for call in bill(web, alice, turn)["calls"]] == ["agent"]
    assert SessionSummary.objects.get(turn_id=turn["id"]).fallback_reason == "insufficient_credits"
    assert turn["balance_after"] == "0.03500000"


def test_a_queued_turn_that_opened_without_its_notes_runs_without_them_whatever_is_granted_since(web, script):
    script.reply = answering(json.dumps(NOTES))
    alice = make_person("alice", credits="0.105")
    session = make_session(alice, "ann", model_alias="small")
    talk(web, alice, session, UNTIL_DUE)
    body = {"message": MESSAGE, "max_output_tokens": 65}
    with web.client(alice.token) as client:
        turn_id = client.post(f"/sessions/{session}/turns", json=body, headers=ASYNC).json()["id"]
        make_wallet("10", user_id=alice.id)
        with worker(web):
            wait_for(lambda: Turn.objects.get(id=turn_id).finished_at is not None)
        turn = client.get(f"/turns/{turn_id}").json()
    assert (turn["status"], turn["summary_used_fallback"]) == ("completed", True)
    calls = bill(web, alice, turn)["calls"]
    # What the journal says of its first step is what was called and billed.
    assert [call["purpose"] for call in calls] == ["agent"]
    assert [step.purpose for step in TurnStep.objects.filter(turn_id=turn_id)] == ["agent"]
    assert SessionSummary.objects.get(turn_id=turn_id).fallback_reason == "insufficient_credits"


def test_a_process_that_dies_after_the_notes_keeps_them_and_they_are_paid_once(committed, provider, script):
    made = json.dumps(NOTES)

    def reply(body):
        if body["model"] == "notes-model":
            return Reply(chunks=(made,), usage=USAGE)
        return Reply(fault="hang") if stalls else Reply(chunks=("ok",), usage=USAGE)

    stalls = False
    script.reply = reply
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="small")
    environment = {
        "LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "SUMMARY_MODEL_ALIAS": "notes", "TURN_LEASE_S": "1",
    }  # fmt: skip
    with web_processes(1, **environment) as (web,):
        talk(web, alice, session, UNTIL_DUE)
        stalls = True
        with web.client(alice.token) as client, pytest.raises(httpx.ReadTimeout):
            client.post(f"/sessions/{session}/turns", json={"message": MESSAGE, "max_output_tokens": 65}, timeout=2)
        web.kill()
    turn = Turn.objects.get(session_id=session, turn_index=UNTIL_DUE + 1)
    deadline = time.monotonic() + 60
    while not recover(turn.id) and time.monotonic() < deadline:
        time.sleep(0.2)
    turn.refresh_from_db()
    assert (turn.status, turn.summary_used_fallback) == ("interrupted", False)
    assert SessionSummary.objects.get(turn_id=turn.id).text == "They talked."
    stalls = False
    environment["TURN_LEASE_S"] = "30"
    with web_processes(1, **environment) as (web,):
        after = talk(web, alice, session, 1)
    assert after["usage"]["llm_calls"] == 1
    charged = LLMCallEvent.objects.filter(session_id=session, purpose="summary")
    assert [str(event.credits_charged) for event in charged] == ["0.03000000"]


def test_a_message_too_long_for_any_agent_of_the_room_is_refused_before_anything_is_written(web, script):
    alice = make_person("alice")
    session = make_session(alice, "big", model_alias="gpt-4o")
    with web.client(alice.token) as client:
        agent = client.post("/agents", json={"agent_key": "tiny", "model_alias": "small"}).json()
        room = client.get("/rooms").json()["results"][0]["id"]
        client.post(f"/rooms/{room}/agents", json={"agent_id": agent["id"]})
        refused = client.post(f"/sessions/{session}/turns", json={"message": "x" * 3_000})
        wallet = client.get("/users/me/wallet").json()
    assert (refused.status_code, refused.json()["code"]) == (422, "context_budget_exceeded")
    assert refused.json()["model_alias"] == "small"
    assert Turn.objects.filter(session_id=session).count() == 0
    assert (wallet["balance"], wallet["held"]) == ("10.00000000", "0.00000000")

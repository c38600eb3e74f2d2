"""A room with an orchestrator: who is asked, who hears whom, what every kind of answer leads to, and what it costs."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from billing.models import LLMCallEvent
from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.context.conversation import attributed, mark_of
from sessions_app.models import Agent, Message, TurnContextAudit
from sessions_app.tests.e2e.scraping import scrape
from sessions_app.tests.e2e.servers import SECRET_KEY, sse, web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

# gemini-flash routes and sums up (x 0.8), so that its calls are told apart from those of the agents on gpt-4o (x 2).
ENVIRONMENT = {"ORCHESTRATOR_MODEL_ALIAS": "gemini-flash", "LLM_MAX_RETRIES": "0"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 100, "completion_tokens": 65}  # 100 OE tokens: 0.02 credits on gpt-4o, 0.008 on gemini-flash


def kind_of(body):
    """router, synthesis, or the agent whose role a request carries."""
    system = body["messages"][0]["content"]
    if "you decide which agents do" in system:
        return "router"
    return (
        "synthesis"
        if "Write the final answer" in system
        else system.split("\n")[0].removeprefix("You are ").rstrip(".")
    )


def scripted(*routings, synthesis="In short."):
    """The routing calls are answered in turn, the last one for ever; agents say who they are."""
    left = list(routings)

    def reply(body):
        kind = kind_of(body)
        if kind == "router":
            said = left.pop(0) if len(left) > 1 else left[0]
            return said if isinstance(said, Reply) else Reply(chunks=(said,), usage=USAGE)
        if kind == "synthesis":
            return synthesis if isinstance(synthesis, Reply) else Reply(chunks=(synthesis,), usage=USAGE)
        return Reply(chunks=(f"{kind} here",), usage=USAGE)

    return reply


def routing(*keys, second_round=False):
    return json.dumps({"agents": list(keys), "second_round": second_round})


def post(web, person, session, message="Shall we?", **fields):
    with web.client(person.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": message, **fields})
        assert answer.status_code == 201, answer.text
        turn = answer.json()
        bill = client.get(f"/turns/{turn['id']}/bill").json()
    return turn, bill


def lines(bill):
    return [(call["purpose"], call["agent_key"], call["status"]) for call in bill["calls"]]


def test_the_orchestrator_routes_the_agents_hear_each_other_and_it_sums_up(web, provider, script):
    script.reply = scripted(routing("cal", "ann"))
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben", "cal", mode="orchestrator")
    Agent.objects.filter(user_id=alice.id, agent_key="ben").update(description="Knows\n  about Rome")
    provider.journal.clear()
    turn, bill = post(web, alice, session)
    assert (turn["status"], turn["mode"], turn["warnings"]) == ("completed", "orchestrator", [])
    assert [(m["agent_key"], m["agent_name"], m["content"]) for m in turn["messages"][1:]] == [
        ("cal", "Cal", "cal here"),
        ("ann", "Ann", "ann here"),
        ("orchestrator", "Orchestrator", "In short."),
    ]
    assert lines(bill) == [
        ("router", "orchestrator", "success"),
        ("agent", "cal", "success"),
        ("agent", "ann", "success"),
        ("synthesis", "orchestrator", "success"),
    ]
    assert [call["credits_charged"] for call in bill["calls"]] == [
        "0.00800000",
        "0.02000000",
        "0.02000000",
        "0.00800000",
    ]
    assert (bill["credits_charged"], turn["balance_after"]) == ("0.05600000", "0.94400000")
    router, cal, ann, synthesis = (exchange.body for exchange in provider.journal)
    schema = router["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["agents"]["items"]["enum"] == ["ann", "ben", "cal"]
    assert "- ben (Ben): Knows about Rome\n" in router["messages"][0]["content"]
    mark = mark_of(session, secret=SECRET_KEY)
    heard = {"role": "user", "content": attributed("Cal (@cal) said", "cal here", mark)}
    assert heard not in cal["messages"]
    assert ann["messages"][-1] == heard
    assert heard in synthesis["messages"]
    assert synthesis["messages"][-1] == {"role": "user", "content": "Write the final answer to my message now."}
    assert "response_format" not in ann


def test_role_prompts_reach_nobody_else(web, provider, script):
    script.reply = scripted(routing("ann", "ben"))
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    for key in ("ann", "ben"):
        Agent.objects.filter(user_id=alice.id, agent_key=key).update(role_prompt=f"You are {key}.\nSECRET-OF-{key}")
    provider.journal.clear()
    post(web, alice, session)
    post(web, alice, session, "And now?")
    assert len(provider.journal) == 8
    for exchange in provider.journal:
        sent = json.dumps(exchange.body)
        assert [key for key in ("ann", "ben") if f"SECRET-OF-{key}" in sent] == [
            key for key in ("ann", "ben") if kind_of(exchange.body) == key
        ]


def test_what_the_orchestrator_said_is_read_as_its_words_in_the_next_turn(web, provider, script):
    script.reply = scripted(routing("ann"))
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    post(web, alice, session)
    provider.journal.clear()
    post(web, alice, session, "And now?")
    ann = next(exchange.body for exchange in provider.journal if kind_of(exchange.body) == "ann")
    said = attributed("Orchestrator (@orchestrator) said", "In short.", mark_of(session, secret=SECRET_KEY))
    assert [(m["role"], m["content"]) for m in ann["messages"][1:]] == [
        ("user", "Shall we?"), ("assistant", "ann here"), ("user", said), ("user", "And now?"),
    ]  # fmt: skip
    assert Message.objects.filter(session_id=session, agent_key="orchestrator", agent_id=None).count() == 2


def test_an_agent_may_be_called_orchestrator_too(web, script):
    script.reply = scripted(routing("orchestrator"))
    alice = make_person("alice")
    session = make_session(alice, "orchestrator", "ben", mode="orchestrator")
    turn, _ = post(web, alice, session)
    assert [m["agent_key"] for m in turn["messages"][1:]] == ["orchestrator", "orchestrator_2"]


def test_a_second_round_is_made_when_asked_for_and_no_third(web, script):
    script.reply = scripted(routing("ann", second_round=True), routing("ben", "ann", second_round=True))
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    with web.client(alice.token) as client:
        text = client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}).text
        events = sse(text)
        turn_id = events[-1][2]["turn_id"]
        bill = client.get(f"/turns/{turn_id}/bill").json()
        again = client.get(f"/turns/{turn_id}").json()
    names = [(name, data.get("round", data.get("agent_key"))) for _, name, data in events if name != "chunk"]
    assert names == [
        ("turn_started", None),
        ("agent_started", "orchestrator"), ("agent_finished", "orchestrator"),
        ("round_start", 1), ("agent_started", "ann"), ("agent_finished", "ann"), ("round_end", 1),
        ("agent_started", "orchestrator"), ("agent_finished", "orchestrator"),
        ("round_start", 2),
        ("agent_started", "ben"), ("agent_finished", "ben"), ("agent_started", "ann"), ("agent_finished", "ann"),
        ("round_end", 2),
        ("agent_started", "orchestrator"), ("agent_finished", "orchestrator"),
        ("done", None),
    ]  # fmt: skip
    # The routing is not for the client to read; the synthesis is.
    chunks = [(data["agent_key"], data["delta"]) for _, name, data in events if name == "chunk"]
    assert chunks == [("ann", "ann here"), ("ben", "ben here"), ("ann", "ann here"), ("orchestrator", "In short.")]
    assert [purpose for purpose, _, _ in lines(bill)] == ["router", "agent", "router", "agent", "agent", "synthesis"]
    assert sum(data["credits_charged"] == "0.02000000" for _, name, data in events if name == "agent_finished") == 3
    assert again["usage"]["credits_charged"] == "0.08400000" == events[-1][2]["credits_charged"]


def test_a_replayed_stream_tells_the_same_rounds_texts_and_numbers(web, script):
    script.reply = scripted(routing("ann", second_round=True), routing("ben"))
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    with web.client(alice.token) as client:
        headers = {"Idempotency-Key": "one"}
        first = sse(client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers=headers).text)
        again = client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers=headers)
        assert again.headers["idempotency-replayed"] == "true"
    assert [(name, data) for _, name, data in sse(again.text)] == [(name, data) for _, name, data in first]


def test_nobody_in_the_second_round_is_an_answer(web, script):
    script.reply = scripted(routing("ann", second_round=True), routing())
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    turn, bill = post(web, alice, session)
    assert [purpose for purpose, _, _ in lines(bill)] == ["router", "agent", "router", "synthesis"]
    assert (turn["status"], turn["warnings"]) == ("completed", [])


FOLDED = [
    ("Sure!\n```json\n" + routing("ben") + "\n```", ["ben"]),
    ('{"next": "@Ben"}', ["ben"]),
    ('{"agents": ["BEN", "Ann "], "second_round": "no"}', ["ben", "ann"]),
    ('{"agents": [{"agent_key": "ben"}], "second_round": false}', ["ben"]),
    ('{"agents": ["ben", "ann"', ["ben", "ann"]),
    ("I would ask @ben, then ann.", ["ben", "ann"]),
    (routing("zoe", "ben"), ["ben"]),
    (routing(*["ann", "ben", "cal"] * 4), ["ann", "ben", "cal"]),
    (routing("ann", "zoe", "yan", "xia", "wim", "vic", "ute", "tom", "sue", "roy"), ["ann"]),
]


@pytest.mark.parametrize(("said", "expected"), FOLDED)
def test_an_answer_that_is_nearly_one_is_understood_at_once(web, script, said, expected):
    script.reply = scripted(said)
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", "cal", mode="orchestrator")
    turn, bill = post(web, alice, session)
    spoken = [key for purpose, key, _ in lines(bill) if purpose == "agent"]
    assert (spoken, turn["status"], turn["warnings"]) == (expected, "completed", [])
    assert [purpose for purpose, _, _ in lines(bill)] == ["router", *["agent"] * len(expected), "synthesis"]


def test_more_agents_than_may_speak_in_a_round_are_left_out_and_named(web, script):
    keys = [f"a{n}" for n in range(10)]
    script.reply = scripted(routing(*keys))
    alice = make_person("alice")
    session = make_session(alice, *keys, mode="orchestrator")
    turn, bill = post(web, alice, session)
    assert [key for purpose, key, _ in lines(bill) if purpose == "agent"] == keys[:8]
    assert turn["warnings"] == [{"code": "routing_truncated", "detail": "The orchestrator chose 2 agents beyond 8."}]


NOBODY = ["", "TERMINATE", routing("zoe"), routing(), "I cannot help with that.", "{}", "[]", '{"agents": null}']


@pytest.mark.parametrize("said", NOBODY)
def test_an_answer_that_names_nobody_is_repaired_once(web, provider, script, said):
    script.reply = scripted(said, routing("ben"))
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    provider.journal.clear()
    turn, bill = post(web, alice, session)
    assert [purpose for purpose, _, _ in lines(bill)] == ["router", "router", "agent", "synthesis"]
    assert ([m["agent_key"] for m in turn["messages"][1:]], turn["warnings"]) == (["ben", "orchestrator"], [])
    asked_again = provider.journal[1].body["messages"]
    assert asked_again[-1]["content"] == (
        "That names no agent. Answer in JSON with one or more of these keys: ann, ben"
    )
    assert (asked_again[-2] == {"role": "assistant", "content": said}) is bool(said)


@pytest.mark.parametrize("said", NOBODY)
def test_one_that_never_names_anybody_is_replaced_by_the_first_agent(web, script, said):
    script.reply = scripted(said)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    turn, bill = post(web, alice, session)
    assert lines(bill) == [
        ("router", "orchestrator", "success"), ("router", "orchestrator", "success"), ("agent", "ann", "success"),
    ]  # fmt: skip
    assert (turn["status"], [m["content"] for m in turn["messages"][1:]]) == ("completed", ["ann here"])
    assert turn["warnings"] == [
        {"code": "routing_fallback", "detail": "The orchestrator named no agent of this room, so @ann answers."}
    ]
    assert bill["credits_charged"] == "0.03600000"


def test_an_orchestrator_whose_provider_is_down_never_fails_the_turn(web, script):
    script.reply = scripted(Reply(status=503, headers={"Retry-After": "99"}))
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    counted = scrape(web).sum("routing_fallbacks_total", reason="provider_error")
    turn, bill = post(web, alice, session)
    assert scrape(web).sum("routing_fallbacks_total", reason="provider_error") == counted + 1
    assert lines(bill) == [("router", "orchestrator", "error"), ("agent", "ann", "success")]
    assert (turn["status"], turn["error"]) == ("completed", None)
    assert turn["warnings"][0]["detail"] == "The orchestrator failed, so @ann answers."
    assert turn["balance_after"] == "0.98000000"


def test_a_provider_that_knows_no_structured_output_is_asked_without(web, provider, script):
    def reply(body):
        if "response_format" in body:
            return Reply(status=400, error={"message": "response_format is not supported"})
        return scripted(routing("ben"))(body)

    script.reply = reply
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    turn, bill = post(web, alice, session)
    assert lines(bill)[:3] == [
        ("router", "orchestrator", "error"), ("router", "orchestrator", "success"), ("agent", "ben", "success"),
    ]  # fmt: skip
    assert (turn["status"], turn["warnings"]) == ("completed", [])


def test_a_synthesis_that_fails_keeps_the_answers(web, script):
    script.reply = scripted(routing("ann", "ben"), synthesis=Reply(status=400, error={"message": "no"}))
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    turn, bill = post(web, alice, session)
    assert (turn["status"], turn["error"]["code"]) == ("partial", "provider_error")
    assert [m["agent_key"] for m in turn["messages"][1:]] == ["ann", "ben"]
    assert lines(bill)[-1] == ("synthesis", "orchestrator", "error")
    assert turn["balance_after"] == "0.95200000"


def test_where_no_agent_answers_there_is_nothing_to_sum_up(web, script):
    def reply(body):
        return scripted(routing("ann"))(body) if kind_of(body) == "router" else Reply(status=400)

    script.reply = reply
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", mode="orchestrator")
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"})
        assert (answer.status_code, answer.json()["code"]) == (502, "provider_error")
        bill = client.get(f"/turns/{answer.json()['turn_id']}/bill").json()
    # The routing was a call that worked: it is billed, and the bill says what for.
    assert lines(bill) == [("router", "orchestrator", "success"), ("agent", "ann", "error")]
    assert bill["credits_charged"] == "0.00800000"


def test_in_hard_mode_a_wallet_that_covers_only_the_routing_says_so(web, script):
    script.reply = scripted(routing("ann"))
    # Routing is held for with about 0.03, an answer with more than 0.06.
    alice = make_person("alice", credits="0.06")
    session = make_session(alice, "ann", mode="orchestrator")
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi", "max_output_tokens": 300})
        assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_credits")
        turn = client.get(f"/turns/{answer.json()['turn_id']}").json()
        wallet = client.get("/users/me/wallet").json()
    assert (turn["status"], turn["usage"]["credits_charged"]) == ("failed", "0.00800000")
    assert (wallet["balance"], wallet["held"]) == ("0.05200000", "0.00000000")


def test_the_estimate_covers_what_an_orchestrated_turn_can_cost(web, script):
    script.reply = scripted("", routing("ann", "ben", second_round=True), "", routing("ben", "ann"))
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    body = {"message": "Shall we?", "max_output_tokens": 65}
    with web.client(alice.token) as client:
        estimate = client.post(f"/sessions/{session}/turns/estimate", json=body).json()
    turn, bill = post(web, alice, session, **body)
    assert len(bill["calls"]) == 9
    assert float(estimate["credits_max"]) >= float(turn["usage"]["credits_charged"])
    assert estimate["would_be_refused"] is False


def test_every_kind_of_call_is_an_event_with_its_purpose_and_room(web, script):
    script.reply = scripted(routing("ann"))
    alice, bob = make_person("alice"), make_person("bob")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    turn, _ = post(web, alice, session)
    events = LLMCallEvent.objects.filter(user_id=alice.id).order_by("call_index")
    assert [(e.purpose, e.model_alias, str(e.turn_id)) for e in events] == [
        ("router", "gemini-flash", turn["id"]),
        ("agent", "gpt-4o", turn["id"]),
        ("synthesis", "gemini-flash", turn["id"]),
    ]
    assert None not in {e.agent_id for e in events} | {e.room_id for e in events} | {e.step_id for e in events}
    with web.client(alice.token) as client:
        usage = client.get("/users/me/usage?group_by=purpose").json()
        audit = client.get(f"/turns/{turn['id']}/context").json()
    assert {row["purpose"]: row["call_count"] for row in usage["breakdown"]} == {
        "router": 1,
        "agent": 1,
        "synthesis": 1,
    }
    assert (audit["strategy"], audit["cut_messages"]) == ("all", 0)
    assert [(call["step_index"], call["purpose"]) for call in audit["calls"]] == [
        (1, "router"), (2, "agent"), (3, "synthesis"),
    ]  # fmt: skip
    with web.client(bob.token) as client:
        assert client.get(f"/turns/{turn['id']}/context").status_code == 404
        assert client.get(f"/sessions/{session}/summaries").status_code == 404
        assert client.post(f"/turns/{turn['id']}/regenerate", json={}).status_code == 404
    assert TurnContextAudit.objects.filter(turn_id=turn["id"]).count() == 1


def test_a_repair_that_is_too_long_for_the_orchestrator_is_not_asked_and_the_first_agent_answers(
    committed, provider, script
):
    script.reply = scripted("Nobody comes to my mind. " * 40)
    narrow = {"multiplier": Decimal(1), "provider_model": "narrow", "context_tokens": 1_500}
    put_model(pricing_version=SEED, model_alias="narrow", fields=narrow, actor="test")
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    environment = {"LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "ORCHESTRATOR_MODEL_ALIAS": "narrow"}
    with web_processes(1, **environment) as (web,):
        # Routing takes 1,180 of the 1,200 tokens that the orchestrator reads.
        turn, bill = post(web, alice, session, "x" * 2_840)
    assert (turn["status"], [warning["code"] for warning in turn["warnings"]]) == ("completed", ["routing_fallback"])
    assert lines(bill) == [("router", "orchestrator", "success"), ("agent", "ann", "success")]

"""An interrupted turn, continued: at the next agent, at its own price, with no call paid twice."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from decimal import Decimal

import pytest

from billing.models import CreditTransaction, LLMCallEvent
from pricing.services import set_multiplier
from pricing.tests.makers import SEED
from sessions_app.models import Turn
from sessions_app.tests.e2e.servers import sse, web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 100, "completion_tokens": 65}  # 0.02 credits on gpt-4o
ROUTING = '{"agents": ["ben", "ann"], "second_round": false}'


def kind_of(body):
    system = body["messages"][0]["content"]
    if "you decide which agents do" in system:
        return "router"
    return (
        "synthesis"
        if "Write the final answer" in system
        else system.split("\n")[0].removeprefix("You are ").rstrip(".")
    )


def hanging_at(*kinds):
    def reply(body):
        kind = kind_of(body)
        if kind in kinds:
            return Reply(fault="hang")
        return Reply(chunks=(ROUTING if kind == "router" else f"{kind} here",), usage=USAGE)

    return reply


@contextmanager
def doomed(provider):
    """A process of its own, that leaves its turns at once when it is stopped."""
    environment = {"LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "DRAIN_TIMEOUT_S": "0"}
    with web_processes(1, **environment) as (web,):
        yield web


def interrupted(provider, script, person, session, *, at):
    """A turn whose process was stopped while it waited for `at`."""
    script.reply = hanging_at(at)
    with doomed(provider) as web, web.client(person.token) as client:
        provider.journal.clear()
        body = {"message": "Shall we?"}
        thread = threading.Thread(target=client.post, args=(f"/sessions/{session}/turns",), kwargs={"json": body})
        thread.start()
        assert provider.wait_for(lambda: any(kind_of(exchange.body) == at for exchange in provider.journal), 15)
        time.sleep(0.2)
        web.stop()
        thread.join()
    turn = Turn.objects.get(session_id=session)
    assert turn.status == "interrupted"
    return turn


def test_it_goes_on_at_the_next_agent_at_the_first_price_and_pays_nothing_twice(web, provider, script):
    alice, bob = make_person("alice"), make_person("bob")
    session = make_session(alice, "ann", "ben", "cal")
    first = interrupted(provider, script, alice, session, at="ben")
    set_multiplier(pricing_version=SEED, model_alias="gpt-4o", multiplier=Decimal(7), actor="test")
    script.reply = hanging_at()
    provider.journal.clear()
    with web.client(alice.token) as client, web.client(bob.token) as bobs:
        assert bobs.post(f"/turns/{first.id}/resume", json={}).status_code == 404
        headers = {"Idempotency-Key": "once"}
        answer = client.post(f"/turns/{first.id}/resume", json={}, headers=headers)
        assert answer.status_code == 201, answer.text
        turn = answer.json()
        again = client.post(f"/turns/{first.id}/resume", json={}, headers=headers)
        assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, turn, "true")
        refused = client.post(f"/turns/{first.id}/resume", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "turn_not_resumable")
        said = [m["content"] for m in reversed(client.get(f"/sessions/{session}/messages").json()["results"])]
        client.post(f"/sessions/{session}/turns", json={"message": "And now?"})
    set_multiplier(pricing_version=SEED, model_alias="gpt-4o", multiplier=Decimal(2), actor="test")
    assert (turn["continues"], turn["status"], turn["turn_index"]) == (str(first.id), "completed", 2)
    assert [m["agent_key"] for m in turn["messages"]] == ["ben", "cal"]
    assert (turn["usage"]["credits_charged"], turn["balance_after"]) == ("0.04000000", "9.94000000")
    assert turn["pricing_revision"] == first.pricing_revision
    assert said == ["Shall we?", "ann here", "ben here", "cal here"]
    ben, cal = list(provider.journal)[:2]
    assert [kind_of(ben.body), kind_of(cal.body)] == ["ben", "cal"]
    # The message once, and then what ann said in the turn that was interrupted.
    assert [m["content"].count("Shall we?") for m in ben.body["messages"]] == [0, 1, 0]
    assert "ann here" in ben.body["messages"][2]["content"]
    later = provider.journal[-3].body["messages"]
    assert sum("Shall we?" in m["content"] for m in later) == 1
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 3 + 3


@pytest.mark.parametrize(
    ("at", "kinds"),
    [
        ("router", ["router", "ben", "ann", "synthesis"]),
        ("ben", ["ben", "ann", "synthesis"]),
        ("ann", ["ann", "synthesis"]),
        ("synthesis", ["synthesis"]),
    ],
)
def test_an_orchestrated_turn_goes_on_where_it_was(web, provider, script, at, kinds):
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="orchestrator")
    first = interrupted(provider, script, alice, session, at=at)
    script.reply = hanging_at()
    provider.journal.clear()
    with web.client(alice.token) as client:
        events = sse(client.post(f"/turns/{first.id}/resume/stream", json={}).text)
    assert (events[-1][1], events[-1][2]["status"]) == ("done", "completed")
    assert [kind_of(exchange.body) for exchange in provider.journal] == kinds
    answers = Turn.objects.get(continues=first)
    purposes = LLMCallEvent.objects.filter(session_id=session, status="success").values_list("purpose", flat=True)
    assert sorted(purposes) == ["agent", "agent", "router", "synthesis"]
    assert answers.status == "completed"


def test_a_continuing_turn_that_is_interrupted_can_be_continued(web, provider, script):
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben", "cal")
    first = interrupted(provider, script, alice, session, at="ben")
    script.reply = hanging_at("cal")
    with doomed(provider) as other, other.client(alice.token) as client:
        provider.journal.clear()
        thread = threading.Thread(target=client.post, args=(f"/turns/{first.id}/resume",), kwargs={"json": {}})
        thread.start()
        assert provider.wait_for(lambda: len(provider.journal) == 2, 15)
        other.stop()
        thread.join()
    second = Turn.objects.get(continues=first)
    assert second.status == "interrupted"
    script.reply = hanging_at()
    provider.journal.clear()
    with web.client(alice.token) as client:
        third = client.post(f"/turns/{second.id}/resume", json={}).json()
        made_anew = client.post(f"/turns/{third['id']}/regenerate", json={})
    assert [m["agent_key"] for m in third["messages"]] == ["cal"]
    assert [kind_of(exchange.body) for exchange in provider.journal] == ["cal"]
    (cal,) = (exchange.body["messages"] for exchange in provider.journal)
    assert [("ann here" in m["content"], "ben here" in m["content"]) for m in cal[2:]] == [(True, False), (False, True)]
    assert (made_anew.status_code, made_anew.json()["code"]) == (409, "turn_not_regenerable")
    assert third["balance_after"] == "0.94000000"


def test_what_cannot_be_resumed_says_so_and_nothing_changes(web, provider, script):
    alice = make_person("alice")
    session, other = make_session(alice, "ann", "ben"), make_session(alice, "ann")
    first = interrupted(provider, script, alice, session, at="ben")
    script.reply = hanging_at()
    with web.client(alice.token) as client:
        done = client.post(f"/sessions/{other}/turns", json={"message": "hi"}).json()
        client.post(f"/sessions/{session}/turns", json={"message": "Never mind"})
        before = Turn.objects.count()
        for turn_id in (done["id"], first.id):
            refused = client.post(f"/turns/{turn_id}/resume", json={})
            assert (refused.status_code, refused.json()["code"]) == (409, "turn_not_resumable")
        unknown = client.post(f"/turns/{first.id}/resume", json={"message": "x"})
        assert (unknown.status_code, unknown.json()["code"]) == (422, "validation_error")
        assert client.get("/users/me/wallet").json()["held"] == "0.00000000"
    assert Turn.objects.count() == before


def test_twenty_resumes_at_once_are_one(web, provider, script):
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben")
    first = interrupted(provider, script, alice, session, at="ben")
    script.reply = hanging_at()
    with web.client(alice.token) as client:
        answers = []
        barrier = threading.Barrier(20)

        def resume():
            barrier.wait()
            answers.append(client.post(f"/turns/{first.id}/resume", json={}))

        threads = [threading.Thread(target=resume) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted({answer.status_code for answer in answers}) == [201, 409]
    assert sum(answer.status_code == 201 for answer in answers) == 1
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"turn_in_progress", "turn_not_resumable"}
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 2


def test_resumes_at_once_with_one_key_are_the_same_resume(web, provider, script):
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben")
    first = interrupted(provider, script, alice, session, at="ben")
    script.reply = lambda _body: Reply(chunks=("b", "e", "n"), usage=USAGE, delay_s=0.3)
    barrier = threading.Barrier(16)
    answers = []

    def resume():
        with web.client(alice.token) as client:
            barrier.wait()
            headers = {"Idempotency-Key": "once"}
            answers.append(client.post(f"/turns/{first.id}/resume/stream", json={}, headers=headers))

    threads = [threading.Thread(target=resume) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    assert Turn.objects.filter(continues=first).count() == 1

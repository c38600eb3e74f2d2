"""The last turn made anew: a new turn, billed, in the old one's place. And the titles of sessions."""

from __future__ import annotations

import threading
import time

import pytest

from billing.models import CreditTransaction
from config.core.ids import uuid7
from sessions_app.models import Session, Turn
from sessions_app.tests.e2e.servers import sse, web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 100, "completion_tokens": 65}  # 0.02 credits on gpt-4o, 0.01 on gpt-4o-mini


def counting():
    """Each answer says which one it is."""
    numbers = iter(range(1, 1_000))
    return lambda body: Reply(chunks=(f"answer {next(numbers)}",), usage=USAGE)


def said(client, session):
    return [m["content"] for m in reversed(client.get(f"/sessions/{session}/messages").json()["results"])]


def test_the_last_turn_is_made_anew_billed_and_linked(web, provider, script):
    script.reply = counting()
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client:
        client.post(f"/sessions/{session}/turns", json={"message": "one"})
        old = client.post(f"/sessions/{session}/turns", json={"message": "two"}).json()
        answer = client.post(f"/turns/{old['id']}/regenerate", json={"model_alias_override": "gpt-4o-mini"})
        assert answer.status_code == 201
        new = answer.json()
        assert (new["user_input"], new["turn_index"], new["status"]) == ("two", 3, "completed")
        assert (new["regenerates"], new["regenerated_by"]) == (old["id"], None)
        assert client.get(f"/turns/{old['id']}").json()["regenerated_by"] == new["id"]
        assert (new["usage"]["credits_charged"], new["balance_after"]) == ("0.01000000", "0.95000000")
        # The conversation has the new one in place of the old; the list of turns has both.
        assert said(client, session) == ["one", "answer 1", "two", "answer 3"]
        listed = client.get(f"/sessions/{session}/turns").json()["results"]
        assert [turn["turn_index"] for turn in listed] == [3, 2, 1]
        client.post(f"/sessions/{session}/turns", json={"message": "three"})
    anew, after = (exchange.body["messages"] for exchange in list(provider.journal)[-2:])
    assert [m["content"] for m in anew[1:]] == ["one", "answer 1", "two"]
    assert [m["content"] for m in after[1:]] == ["one", "answer 1", "two", "answer 3", "three"]
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 4


def test_a_turn_made_anew_can_be_made_anew_and_a_retry_gives_the_same(web, script):
    script.reply = counting()
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client:
        first = client.post(f"/sessions/{session}/turns", json={"message": "one"}).json()
        second = client.post(f"/turns/{first['id']}/regenerate", json={}).json()
        headers = {"Idempotency-Key": "again"}
        third = client.post(f"/turns/{second['id']}/regenerate", json={}, headers=headers)
        retry = client.post(f"/turns/{second['id']}/regenerate", json={}, headers=headers)
        assert (retry.json(), retry.headers["idempotency-replayed"]) == (third.json(), "true")
        other = client.post(f"/turns/{third.json()['id']}/regenerate", json={}, headers=headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert said(client, session) == ["one", "answer 3"]
        assert client.get("/users/me/wallet").json()["balance"] == "0.94000000"


def test_only_the_last_turn_can_be_made_anew(web, script):
    script.reply = counting()
    alice, bob = make_person("alice", credits="1"), make_person("bob")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client, web.client(bob.token) as bobs:
        first = client.post(f"/sessions/{session}/turns", json={"message": "one"}).json()
        client.post(f"/sessions/{session}/turns", json={"message": "two"})
        refused = client.post(f"/turns/{first['id']}/regenerate", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "turn_not_regenerable")
        for suffix in ("regenerate", "regenerate/stream"):
            assert bobs.post(f"/turns/{first['id']}/{suffix}", json={}).status_code == 404
            assert bobs.post(f"/turns/{uuid7()}/{suffix}", json={}).status_code == 404
        bad = client.post(f"/turns/{first['id']}/regenerate", json={"message": "other"})
        assert (bad.status_code, bad.json()["code"]) == (422, "validation_error")
    assert Turn.objects.filter(session_id=session).count() == 2
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 2


def test_one_that_fails_replaces_nothing_and_a_failed_turn_can_be_made_anew(web, script):
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann")
    script.reply = counting()
    with web.client(alice.token) as client:
        first = client.post(f"/sessions/{session}/turns", json={"message": "one"}).json()
        script.reply = Reply(status=400, error={"message": "no"})
        failed = client.post(f"/turns/{first['id']}/regenerate", json={})
        assert (failed.status_code, failed.json()["code"]) == (502, "provider_error")
        assert client.get(f"/turns/{first['id']}").json()["regenerated_by"] is None
        script.reply = counting()
        again = client.post(f"/turns/{failed.json()['turn_id']}/regenerate", json={}).json()
        assert (again["status"], again["user_input"]) == ("completed", "one")


def test_after_a_failed_attempt_the_turn_and_the_attempt_lead_to_the_same_place(web, script):
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client:
        for named in ("turn", "attempt"):
            script.reply = counting()
            turn = client.post(f"/sessions/{session}/turns", json={"message": named}).json()
            before = said(client, session)
            script.reply = Reply(status=400, error={"message": "no"})
            attempts = [client.post(f"/turns/{turn['id']}/regenerate", json={}).json()["turn_id"] for _ in range(2)]
            assert said(client, session) == before
            script.reply = lambda body: Reply(chunks=("anew",), usage=USAGE)
            again = {"turn": turn["id"], "attempt": attempts[-1]}[named]
            new = client.post(f"/turns/{again}/regenerate", json={}).json()
            assert new["regenerates"] == turn["id"]
            assert client.get(f"/turns/{turn['id']}").json()["regenerated_by"] == new["id"]
            assert said(client, session) == [*before[:-1], "anew"]
            late = client.post(f"/turns/{attempts[0]}/regenerate", json={})
            assert (late.status_code, late.json()["code"]) == (409, "turn_not_regenerable")


def test_an_attempt_that_is_cancelled_before_it_said_anything_replaces_nothing(web, provider, script):
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client:
        script.reply = counting()
        first = client.post(f"/sessions/{session}/turns", json={"message": "one"}).json()
        script.reply = Reply(fault="hang")
        provider.journal.clear()
        posted = threading.Thread(target=client.post, args=(f"/turns/{first['id']}/regenerate",), kwargs={"json": {}})
        posted.start()
        assert provider.wait_for(lambda: len(provider.journal) == 1)
        attempt = Turn.objects.get(session_id=session, turn_index=2)
        assert client.post(f"/turns/{attempt.id}/cancel").status_code in {200, 202}
        posted.join()
        assert client.get(f"/turns/{attempt.id}").json()["status"] == "cancelled"
        assert said(client, session) == ["one", "answer 1"]
        assert client.get(f"/turns/{first['id']}").json()["regenerated_by"] is None
        script.reply = lambda body: Reply(chunks=("anew",), usage=USAGE)
        new = client.post(f"/turns/{attempt.id}/regenerate", json={}).json()
        assert (new["regenerates"], said(client, session)) == (first["id"], ["one", "anew"])
        client.post(f"/sessions/{session}/turns", json={"message": "two"})
    assert [m["content"] for m in provider.journal[-1].body["messages"][1:]] == ["one", "anew", "two"]


def test_it_streams_and_two_at_once_make_one(web, script):
    script.reply = lambda body: Reply(chunks=("a", "b"), usage=USAGE, delay_s=0.3)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann")
    answers = []
    with web.client(alice.token) as client:
        first = client.post(f"/sessions/{session}/turns", json={"message": "one"}).json()

        def regenerate():
            answers.append(client.post(f"/turns/{first['id']}/regenerate/stream", json={}))

        threads = [threading.Thread(target=regenerate) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
        (streamed,) = (answer for answer in answers if answer.status_code == 200)
        assert sse(streamed.text)[-1][1] == "done"
        assert client.get("/users/me/wallet").json()["balance"] == "0.96000000"


def title_of(client, session):
    return client.get(f"/sessions/{session}").json()["title"]


def test_a_session_is_named_after_its_first_message_unless_it_has_a_title(web, script):
    script.reply = counting()
    alice = make_person("alice")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client:
        assert title_of(client, session) == ""
        turn = client.post(f"/sessions/{session}/turns", json={"message": "  Where\n shall we " + "go " * 50}).json()
        assert turn["usage"]["llm_calls"] == 1
        title = title_of(client, session)
        assert title.startswith("Where shall we go go")
        assert title.endswith("go…")
        assert len(title) <= 80
        client.post(f"/sessions/{session}/turns", json={"message": "Another subject"})
        assert title_of(client, session) == title


def test_a_turn_that_fails_names_nothing(web, script):
    script.reply = Reply(status=400)
    alice = make_person("alice")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client:
        client.post(f"/sessions/{session}/turns", json={"message": "Where to?"})
        assert title_of(client, session) == ""


TITLES = [
    (Reply(chunks=('"A trip to Rome."\nand more',), usage=USAGE), "A trip to Rome", "0.04000000"),
    (Reply(chunks=("  ",), usage=USAGE), "Where to?", "0.04000000"),
    (Reply(status=500), "Where to?", "0.02000000"),
]


def test_where_nobody_knows_the_alias_for_titles_the_message_names_the_session_without_a_stack_trace(
    committed, provider, script, capfd
):
    script.reply = counting()
    alice = make_person("alice")
    session = make_session(alice, "ann")
    environment = {"SESSION_TITLES": "model", "SUMMARY_MODEL_ALIAS": "nobody"}
    with web_processes(1, LLM_BASE_URL=provider.base_url, LLM_API_KEY="k", **environment) as (web,):
        with web.client(alice.token) as client:
            turn = client.post(f"/sessions/{session}/turns", json={"message": "Where to?"}).json()
            assert (turn["status"], turn["usage"]["llm_calls"]) == ("completed", 1)
            assert title_of(client, session) == "Where to?"
    assert "Traceback" not in capfd.readouterr().err


def test_a_model_may_name_the_session_as_a_metered_call(committed, provider, script):
    environment = {
        "LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "SESSION_TITLES": "model", "LLM_MAX_RETRIES": "0",
    }  # fmt: skip
    with web_processes(1, **environment) as (web,):
        for reply, title, charged in TITLES:
            script.reply = lambda body, reply=reply: (
                reply if "You name conversations" in body["messages"][0]["content"] else Reply(usage=USAGE)
            )
            alice = make_person("alice")
            session = make_session(alice, "ann")
            with web.client(alice.token) as client:
                estimate = client.post(f"/sessions/{session}/turns/estimate", json={"message": "Where to?"}).json()
                turn = client.post(f"/sessions/{session}/turns", json={"message": "Where to?"}).json()
                assert (turn["status"], title_of(client, session)) == ("completed", title)
                assert (turn["usage"]["llm_calls"], turn["usage"]["credits_charged"]) == (2, charged)
                assert float(estimate["credits_max"]) >= float(charged)
                bill = client.get(f"/turns/{turn['id']}/bill").json()
                assert [call["purpose"] for call in bill["calls"]] == ["agent", "summary"]
                later = client.post(f"/sessions/{session}/turns", json={"message": "More"}).json()
                assert later["usage"]["llm_calls"] == 1
                assert client.get(f"/sessions/{session}/summaries").json()["results"] == []


def test_a_process_that_drains_while_a_title_is_looked_for_has_a_completed_turn(committed, provider, script):
    script.reply = lambda body: (
        Reply(fault="hang") if "You name conversations" in body["messages"][0]["content"] else Reply(usage=USAGE)
    )
    environment = {
        "LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "SESSION_TITLES": "model", "DRAIN_TIMEOUT_S": "1",
    }  # fmt: skip
    alice = make_person("alice")
    session = make_session(alice, "ann")
    answers = []
    provider.journal.clear()
    with web_processes(1, **environment) as (web,), web.client(alice.token) as client:

        def post():
            answers.append(client.post(f"/sessions/{session}/turns", json={"message": "Where to?"}).json())

        thread = threading.Thread(target=post)
        thread.start()
        deadline = time.monotonic() + 20
        while len(provider.journal) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        web.stop()
        thread.join()
    assert (answers[0]["status"], answers[0]["error"]) == ("completed", None)
    assert Session.objects.get(id=session).title == "Where to?"


def test_credits_that_do_not_cover_an_answer_are_not_spent_on_a_title(committed, provider, script):
    script.reply = Reply(usage=USAGE)
    environment = {"LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "SESSION_TITLES": "model"}
    # Each answer of at most 300 tokens is held for with 0.06 and costs 0.02, a title with less than 0.02.
    alice = make_person("alice", credits="0.07")
    session = make_session(alice, "ann", "ben")
    with web_processes(1, **environment) as (web,), web.client(alice.token) as client:
        body = {"message": "Where to?", "max_output_tokens": 300}
        turn = client.post(f"/sessions/{session}/turns", json=body).json()
    assert (turn["status"], turn["error"]["code"], turn["usage"]["llm_calls"]) == ("partial", "insufficient_credits", 1)
    assert (Session.objects.get(id=session).title, turn["balance_after"]) == ("Where to?", "0.05000000")

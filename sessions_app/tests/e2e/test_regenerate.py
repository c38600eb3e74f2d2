"""The last turn made anew: a new turn, billed, in the old one's place. And the titles of sessions."""

from __future__ import annotations

import threading

import pytest

from billing.models import CreditTransaction
from config.core.ids import uuid7
from sessions_app.models import Turn
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

"""One key, one turn: replayed, attached to while it runs, refused for another request."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from uuid import UUID

import pytest
from django.utils import timezone

from billing.models import CreditTransaction, CreditWallet
from config.core.models import IdempotencyKey
from sessions_app.models import Session, Turn
from sessions_app.tests.e2e.servers import sse
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.turns.queueing import take

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 160, "completion_tokens": 80, "prompt_tokens_details": {"cached_tokens": 40}}
KEY = {"Idempotency-Key": "key-1"}


def test_a_retry_of_the_turn_that_emptied_the_wallet_returns_that_turn(web, script):
    script.reply = Reply(usage={"prompt_tokens": 0, "completion_tokens": 2_500})
    alice = make_person("alice", credits="0.5")
    session = make_session(alice, "solo")
    body = {"message": "hi", "max_output_tokens": 2_400}
    with web.client(alice.token) as client:
        first = client.post(f"/sessions/{session}/turns", json=body, headers=KEY)
        assert (first.status_code, first.json()["balance_after"]) == (201, "0.00000000")
        again = client.post(f"/sessions/{session}/turns", json=body, headers=KEY)
        assert (again.status_code, again.json()) == (201, first.json())
        assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
        assert client.post(f"/sessions/{session}/turns", json=body).status_code == 402
    assert Turn.objects.filter(session_id=session).count() == 1
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 1


def test_the_same_key_for_another_body_or_path_is_refused(web, script):
    alice = make_person("alice")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client:
        client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=KEY)
        for path, message in ((f"/sessions/{session}/turns", "ho"), (f"/sessions/{session}/turns/stream", "hi")):
            refused = client.post(path, json={"message": message}, headers=KEY)
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert Turn.objects.filter(session_id=session).count() == 1


def test_keys_are_the_callers_own(web, script):
    alice, bob = make_person("alice"), make_person("bob")
    for person in (alice, bob):
        session = make_session(person, "solo")
        with web.client(person.token) as client:
            answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=KEY)
        assert (answer.status_code, "Idempotency-Replayed" in answer.headers) == (201, False)


def test_a_refusal_is_not_remembered(web, script):
    alice = make_person("alice", credits="0")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client:
        refused = client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=KEY)
        assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_credits")
        assert not IdempotencyKey.objects.filter(caller_id=alice.id).exists()
        from billing.tests.makers import make_wallet

        make_wallet("5", user_id=alice.id)
        assert client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=KEY).status_code == 201


def test_while_the_first_runs_a_post_is_told_so_and_a_stream_attaches(web, script):
    script.reply = Reply(chunks=tuple("abcdef"), usage=USAGE, delay_s=0.2)
    alice = make_person("alice")
    session = make_session(alice, "solo")
    streams = {}

    def stream(name):
        with web.client(alice.token) as client:
            streams[name] = client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers=KEY)

    first = threading.Thread(target=stream, args=["first"])
    first.start()
    while not Turn.objects.filter(session_id=session).exists():
        time.sleep(0.02)
    second = threading.Thread(target=stream, args=["second"])
    second.start()
    with web.client(alice.token) as client:
        busy = client.post(f"/sessions/{session}/turns", json={"message": "hi"})
        assert (busy.status_code, busy.json()["code"]) == (409, "turn_in_progress")
        assert "Retry-After" in busy.headers
    first.join()
    second.join()
    turn = Turn.objects.get(session_id=session)
    assert busy.json()["turn_id"] == str(turn.id)
    assert sse(streams["second"].text) == sse(streams["first"].text)
    assert streams["second"].headers["Idempotency-Replayed"] == "true"
    assert CreditWallet.objects.get(user_id=alice.id).balance == Decimal("9.9748")


def test_a_plain_post_with_the_key_of_a_running_turn_gets_409(web, script):
    script.reply = Reply(chunks=tuple("abcd"), usage=USAGE, delay_s=0.3)
    alice = make_person("alice")
    session = make_session(alice, "solo")
    answers = []

    def post():
        with web.client(alice.token) as client:
            answers.append(client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=KEY))

    thread = threading.Thread(target=post)
    thread.start()
    while not Turn.objects.filter(session_id=session).exists():
        time.sleep(0.02)
    with web.client(alice.token) as client:
        busy = client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=KEY)
    thread.join()
    assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_in_progress")
    assert busy.json()["turn_id"] == answers[0].json()["id"]


def test_a_finished_turn_is_streamed_again_from_its_rows(web, script):
    script.reply = Reply(chunks=("one", "two"), usage=USAGE)
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben")
    with web.client(alice.token) as client:
        first = sse(client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers=KEY).text)
        again = client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers=KEY)
    assert again.headers["Idempotency-Replayed"] == "true"
    events = sse(again.text)

    def text_of(agent, stream):
        return "".join(d["delta"] for _, name, d in stream if name == "chunk" and d["agent_key"] == agent)

    for agent in ("ann", "ben"):
        assert text_of(agent, events) == text_of(agent, first) == "onetwo"
    assert {k: v for k, v in events[-1][2].items() if k != "seq"} == {
        k: v for k, v in first[-1][2].items() if k != "seq"
    }


def test_a_busy_session_can_be_waited_for(web, script):
    script.reply = Reply(chunks=tuple("abcd"), usage=USAGE, delay_s=0.2)
    alice = make_person("alice")
    session = make_session(alice, "solo")
    answers = []

    def post(on_busy):
        with web.client(alice.token) as client:
            answers.append(
                client.post(f"/sessions/{session}/turns", json={"message": "hi", "on_busy": on_busy}).status_code
            )

    threads = [threading.Thread(target=post, args=["wait"]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [201, 201, 201]
    assert sorted(Turn.objects.filter(session_id=session).values_list("turn_index", flat=True)) == [1, 2, 3]


def test_a_key_that_reads_like_a_constraint_is_a_key_like_any_other(web, script):
    script.reply = Reply(chunks=tuple("abc"), usage=USAGE, delay_s=0.3)
    alice = make_person("alice")
    session = make_session(alice, "solo")
    headers = {"Idempotency-Key": "tom-continues-turn_one_active_per_session"}
    barrier = threading.Barrier(8)
    answers = []

    def stream():
        with web.client(alice.token) as client:
            barrier.wait()
            answers.append(client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers=headers))

    threads = [threading.Thread(target=stream) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7


def test_a_queued_turn_that_cannot_be_run_any_more_says_why_also_when_its_request_is_made_again(web):
    alice = make_person("alice")
    session = make_session(alice, "solo")
    headers = {**KEY, "Prefer": "respond-async"}
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=headers).json()
        # As where it is deleted in the moment in which a worker takes the turn.
        Session.objects.filter(id=session).update(deleted_at=timezone.now())
        assert take(UUID(turn["id"])) is None
        again = client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=KEY)
        assert client.get("/users/me/wallet").json()["held"] == "0.00000000"
    said = again.json()
    assert (again.status_code, said["code"], said["turn_id"]) == (404, "not_found", turn["id"])
    assert (said["detail"], again.headers["idempotency-replayed"]) == ("There is no such resource.", "true")

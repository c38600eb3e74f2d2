"""Turns that nobody waits for: queued, run by a worker, watched from any process, ended at their owner's wish."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from billing.models import CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.models import Turn, TurnStep
from sessions_app.tests.e2e.processes import start_worker
from sessions_app.tests.e2e.servers import WebProcess, sse, web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.turns.queueing import dispatch_waiting

ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "20", "SWEEP_INTERVAL_S": "1", "TURN_LEASE_S": "3"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

ROOT = Path(__file__).resolve().parents[3]
USAGE = {"prompt_tokens": 100, "completion_tokens": 65}  # 0.02 credits on gpt-4o
ASYNC = {"Prefer": "respond-async"}


@contextmanager
def worker(web, *beat, threads=4):
    """A Celery worker, without beat unless asked for, with the web process's environment."""
    quiet = ("--loglevel", "WARNING", "--without-mingle", "--without-gossip")
    process = start_worker({**web.environment, "DRAIN_TIMEOUT_S": "1"}, *quiet, *beat, threads=threads)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def status_of(turn_id):
    return Turn.objects.get(id=turn_id).status


def queued(client, session, message="hi", **headers):
    answer = client.post(f"/sessions/{session}/turns", json={"message": message}, headers={**ASYNC, **headers})
    assert answer.status_code == 202, answer.text
    turn = answer.json()
    assert (turn["status"], answer.headers["location"]) == ("queued", f"/api/v1/turns/{turn['id']}")
    assert answer.headers["preference-applied"] == "respond-async"
    return turn["id"]


def test_a_worker_runs_it_and_any_web_process_shows_it(web, script):
    script.reply = Reply(chunks=("a", "b", "c"), usage=USAGE, delay_s=0.2)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben")
    with worker(web), web.client(alice.token) as client:
        turn_id = queued(client, session, **{"Idempotency-Key": "one"})
        events = sse(client.get(f"/turns/{turn_id}/events").text)
        turn = client.get(f"/turns/{turn_id}").json()
        again = client.post(
            f"/sessions/{session}/turns", json={"message": "hi"}, headers={**ASYNC, "Idempotency-Key": "one"}
        )
    assert [name for _, name, _ in events if name != "chunk"] == [
        "turn_started", "agent_started", "agent_finished", "agent_started", "agent_finished", "done",
    ]  # fmt: skip
    assert "".join(data["delta"] for _, name, data in events if name == "chunk") == "abcabc"
    assert events[0][2]["turn_index"] == turn["turn_index"] == 1
    assert (turn["status"], turn["balance_after"], turn["usage"]["llm_calls"]) == ("completed", "0.96000000", 2)
    assert (again.status_code, again.json()["id"], again.headers["idempotency-replayed"]) == (202, turn_id, "true")
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 2


def test_admission_is_judged_at_once_and_the_session_is_busy(web, script):
    script.reply = Reply(usage=USAGE)
    alice, poor = make_person("alice"), make_person("poor", credits="0.00001")
    session, other = make_session(alice, "ann"), make_session(poor, "ann")
    with web.client(alice.token) as client, web.client(poor.token) as poors:
        turn_id = queued(client, session)
        busy = client.post(f"/sessions/{session}/turns", json={"message": "me too"}, headers=ASYNC)
        assert (busy.status_code, busy.json()["turn_id"]) == (409, turn_id)
        refused = poors.post(f"/sessions/{other}/turns", json={"message": "hi"}, headers=ASYNC)
        assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_credits")
        assert client.get("/users/me/wallet").json()["held"] != "0.00000000"
        # Nobody runs it: its owner's wish ends it here and now, and gives the credits back.
        cancelled = client.post(f"/turns/{turn_id}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert client.get("/users/me/wallet").json()["held"] == "0.00000000"
        events = sse(client.get(f"/turns/{turn_id}/events").text)
    assert [name for _, name, _ in events] == ["turn_started", "done"]
    assert LLMCallEvent.objects.filter(turn_id=turn_id).count() == 0
    assert TurnStep.objects.get(turn_id=turn_id).status == "cancelled"
    assert not Turn.objects.filter(user_id=poor.id).exists()


def test_what_the_broker_lost_is_sent_again_and_its_hold_is_kept(web, script, settings):
    script.reply = Reply(usage=USAGE)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann")
    from config.celery import app

    with web.client(alice.token) as client:
        turn_id = queued(client, session)
        app.control.purge()
        before = CreditHold.objects.get(reference_id=turn_id).expires_at
        settings.SWEEP_INTERVAL_S = 0
        assert dispatch_waiting() >= 1
        assert CreditHold.objects.get(reference_id=turn_id).expires_at > before
        with worker(web):
            # Twice, and still once.
            dispatch_waiting()
            wait_for(lambda: status_of(turn_id) == "completed")
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 1


def by_the_word(body):
    return Reply(raw=json.dumps({"tokens": list(range(len(body["content"].split())))}).encode(), as_json=True)


def test_what_opening_admits_by_exact_counts_a_worker_runs(web, provider, script):
    script.reply = Reply(usage=USAGE)
    provider.tokenizer = by_the_word
    narrow = {"multiplier": Decimal(1), "provider_model": "narrow", "context_tokens": 1_000}
    put_model(pricing_version=SEED, model_alias="narrow", fields=narrow, actor="test")
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="narrow")
    # 1,600 tokens by their bound, 300 by the provider's count.
    body = {"message": "extraordinarily " * 300, "max_output_tokens": 100}
    try:
        with worker(web), web.client(alice.token) as client:
            turn_id = client.post(f"/sessions/{session}/turns", json=body, headers=ASYNC).json()["id"]
            wait_for(lambda: Turn.objects.get(id=turn_id).finished_at is not None)
    finally:
        provider.tokenizer = None
    assert status_of(turn_id) == "completed"


def test_a_broker_that_never_answers_keeps_nobody_from_the_database(committed, provider, script):
    script.reply = Reply(usage=USAGE)
    alice = make_person("alice")
    sessions = [make_session(alice, "ann") for _ in range(6)]
    # Connections are taken and never answered, as by a Redis that is paused.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            "LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "DATABASE_THREADS": "2",
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0",
        }  # fmt: skip
        with web_processes(1, **environment) as (web,), web.client(alice.token) as client:
            posts = [threading.Thread(target=queued, args=(client, session)) for session in sessions[1:]]
            for post in posts:
                post.start()
            wait_for(lambda: Turn.objects.filter(user_id=alice.id, status="queued").count() == len(posts))
            asked_at = time.monotonic()
            turn = client.post(f"/sessions/{sessions[0]}/turns", json={"message": "hi"}, timeout=10).json()
            assert (turn["status"], time.monotonic() - asked_at < 1.5) == ("completed", True)
            for post in posts:
                post.join(timeout=20)
                assert not post.is_alive()


def test_a_worker_that_is_killed_leaves_a_turn_that_is_ended_and_billed_once(web, provider, script):
    script.reply = lambda body: (
        Reply(chunks=("first",), usage=USAGE)
        if "You are ann" in body["messages"][0]["content"]
        else Reply(fault="hang")
    )
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben")
    with web.client(alice.token) as client:
        with worker(web) as doomed:
            turn_id = queued(client, session)
            wait_for(lambda: TurnStep.objects.filter(turn_id=turn_id, step_index=2).exists())
            doomed.kill()
            doomed.wait()
        # The message comes again, to a worker that finds the turn claimed; a sweep ends it.
        with worker(web, "--beat", "--scheduler", "celery.beat:Scheduler"):
            wait_for(lambda: status_of(turn_id) == "interrupted", 60)
        turn = client.get(f"/turns/{turn_id}").json()
        assert client.post(f"/sessions/{session}/turns/estimate", json={"message": "hi"}).status_code == 200
    assert [m["content"] for m in turn["messages"][1:]] == ["first"]
    assert turn["balance_after"] == "0.98000000"
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 1


def test_a_worker_that_is_stopped_ends_its_turns_first(web, script):
    script.reply = Reply(chunks=("a", "b", "c", "d", "e", "f", "g", "h"), usage=USAGE, delay_s=1)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client, worker(web) as stopped:
        turn_id = queued(client, session)
        wait_for(lambda: status_of(turn_id) == "running")
        time.sleep(1.5)
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait(timeout=20) == 0
        turn = client.get(f"/turns/{turn_id}").json()
    assert (turn["status"], turn["messages"][1]["content"][:1]) == ("interrupted", "a")
    assert CreditWallet.objects.get(user_id=alice.id).held == 0


@pytest.mark.parametrize("where", ["here", "worker"])
def test_a_cancelled_turn_stops_the_provider_within_a_second_and_bills_what_came(web, provider, script, where):
    script.reply = Reply(chunks=("Twelve chars",) + ("x",) * 300, usage=USAGE, delay_s=0.1)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben")
    message = f"stop me, {where}"
    with web.client(alice.token) as client:
        if where == "worker":
            with worker(web):
                turn_id = queued(client, session, message)
                stop_it(client, provider, message, turn_id)
        else:
            thread = threading.Thread(
                target=client.post, args=(f"/sessions/{session}/turns",), kwargs={"json": {"message": message}}
            )
            thread.start()
            wait_for(lambda: Turn.objects.filter(session_id=session).exists())
            turn_id = Turn.objects.get(session_id=session).id
            stop_it(client, provider, message, turn_id)
            thread.join()
        turn = client.get(f"/turns/{turn_id}").json()
        events = sse(client.get(f"/turns/{turn_id}/events").text)
        ended = client.post(f"/turns/{turn_id}/cancel")
    assert (ended.status_code, ended.json()) == (200, turn)
    assert turn["status"] == "cancelled"
    assert turn["messages"][1]["content"].startswith("Twelve chars")
    assert turn["usage"]["credits_charged"] != "0.00000000"
    assert (events[-1][1], events[-1][2]["status"]) == ("done", "cancelled")
    # No call after it: ben was never asked.
    assert len(asked(provider, message)) == 1


def asked(provider, message):
    """The calls of one turn: a worker may meanwhile run what other tests have left in the queue."""
    return [exchange for exchange in list(provider.journal) if message in str(exchange.body)]


def stop_it(client, provider, message, turn_id):
    wait_for(lambda: any(call.sent_text.count("x") > 2 for call in asked(provider, message)))
    [call] = asked(provider, message)
    asked_at = time.monotonic()
    answer = client.post(f"/turns/{turn_id}/cancel")
    assert answer.status_code in {200, 202}
    assert provider.wait_for(lambda: call.client_closed_at is not None)
    assert call.client_closed_at - asked_at < 1
    wait_for(lambda: status_of(turn_id) == "cancelled", 10)


def test_another_users_turn_cannot_be_cancelled(web, script):
    script.reply = Reply(chunks=("a", "b", "c"), usage=USAGE, delay_s=0.3)
    alice, bob = make_person("alice"), make_person("bob")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client, web.client(bob.token) as bobs:
        posted = threading.Thread(
            target=client.post, args=(f"/sessions/{session}/turns",), kwargs={"json": {"message": "hi"}}
        )
        posted.start()
        wait_for(lambda: Turn.objects.filter(session_id=session).exists())
        turn = Turn.objects.get(session_id=session)
        assert bobs.post(f"/turns/{turn.id}/cancel").status_code == 404
        assert bobs.get(f"/turns/{turn.id}/events").status_code == 404
        posted.join()
    assert Turn.objects.get(id=turn.id).status == "completed"
    assert Turn.objects.get(id=turn.id).cancel_requested_at is None


def test_lost_turns_are_ended_on_time_however_busy_the_worker_is(web, provider, script):
    alice = make_person("alice", credits="5")
    script.reply = Reply(chunks=("a", "b"), delay_s=14, usage=USAGE)
    beat = ("--beat", "--scheduler", "celery.beat:Scheduler")
    environment = {"LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", **ENVIRONMENT}
    victim = WebProcess(name="victim", **environment).start().wait()
    with worker(web, *beat, threads=1), web.client(alice.token) as client:
        long = queued(client, make_session(alice, "ann"))
        wait_for(lambda: status_of(long) == "running")
        with victim.client(alice.token) as doomed, pytest.raises(httpx.ReadTimeout):
            doomed.post(f"/sessions/{make_session(alice, 'ben')}/turns", json={"message": "hi"}, timeout=1)
        lost = Turn.objects.exclude(id=long).get(user_id=alice.id).id
        victim.kill()
        wait_for(lambda: status_of(lost) == "interrupted", 12)
        assert status_of(long) == "running"


def test_who_watches_a_turn_of_elsewhere_holds_no_process_up_that_is_to_stop(web, provider, script):
    alice = make_person("alice", credits="5")
    leaving = WebProcess(name="leaving", LLM_BASE_URL=provider.base_url, DRAIN_TIMEOUT_S="2").start().wait()
    with web.client(alice.token) as client, leaving.client(alice.token) as viewer, ThreadPoolExecutor(1) as pool:
        turn = queued(client, make_session(alice, "ann"))
        watching = pool.submit(viewer.get, f"/turns/{turn}/events", timeout=40)
        time.sleep(1)
        assert not watching.done()
        leaving.process.terminate()
        assert leaving.process.wait(10) is not None
        # No end, because there is none yet: whoever watches connects again, to another process.
        assert watching.result().text == ""
        assert client.post(f"/turns/{turn}/cancel").status_code == 200


@pytest.mark.parametrize("deleted", ["session", "room", "agent"])
def test_what_is_deleted_takes_its_turns_along(web, script, deleted):
    alice = make_person("alice", credits="5")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client:
        room = client.get(f"/sessions/{session}").json()["room_id"]
        path = {"session": f"/sessions/{session}", "room": f"/rooms/{room}"}
        if deleted == "agent":
            agent = client.post("/agents", json={"agent_key": "solo", "name": "Solo", "model_alias": "gpt-4o"}).json()
            session = client.post(f"/agents/{agent['id']}/sessions", json={}).json()["id"]
            path["agent"] = f"/agents/{agent['id']}"
        waiting = queued(client, session)
        assert CreditWallet.objects.get(user_id=alice.id).held > 0
        assert client.delete(path[deleted]).status_code == 204
    assert status_of(waiting) == "cancelled"
    wallet = CreditWallet.objects.get(user_id=alice.id)
    assert (wallet.balance, wallet.held) == (5, 0)


def test_a_turn_that_runs_in_a_deleted_session_is_stopped_and_billed_for_what_came(web, provider, script):
    script.reply = Reply(chunks=("Twelve chars", "never"), fault="stall", fault_after=1)
    alice = make_person("alice", credits="5")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client, ThreadPoolExecutor(1) as pool:
        posted = pool.submit(client.post, f"/sessions/{session}/turns", json={"message": "delete me"})
        wait_for(lambda: any(call.sent_text for call in asked(provider, "delete me")))
        assert client.delete(f"/sessions/{session}").status_code == 204
        posted.result()
    assert Turn.objects.get(session_id=session).status == "cancelled"
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 1

"""The events of a turn: read again from any number, at any web process, while it runs and after it."""

from __future__ import annotations

import threading
import time

import httpx
import pytest
from django.conf import settings
from redis import Redis

from config.core.ids import uuid7
from sessions_app.models import Turn
from sessions_app.tests.e2e.servers import sse, web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

WEB_PROCESSES = 2
ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "20"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
TEXT = tuple(f"piece {n}, € \u2028😀 " for n in range(12))


def slow(delay_s=0.08):
    return Reply(chunks=TEXT, usage=USAGE, delay_s=delay_s)


def texts(events):
    """The text of each agent, put together from its chunks."""
    said = {}
    for _, name, data in events:
        if name == "chunk":
            said[data["agent_key"]] = said.get(data["agent_key"], "") + data["delta"]
    return said


def in_the_background(client, session):
    """Post a turn without waiting for it; returns its id once it runs."""
    thread = threading.Thread(
        target=client.post, args=(f"/sessions/{session}/turns",), kwargs={"json": {"message": "hi"}}
    )
    thread.start()
    deadline = time.monotonic() + 10
    while (turn := Turn.objects.filter(session_id=session).first()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return turn.id, thread


def read_some(client, turn_id, after, count):
    """The next `count` events (all, if there are fewer), and then hang up."""
    got = []
    with client.stream("GET", f"/turns/{turn_id}/events", headers={"Last-Event-ID": str(after)}) as answer:
        assert answer.status_code == 200, answer.read()
        buffer = ""
        for piece in answer.iter_text():
            buffer += piece
            while "\n\n" in buffer and len(got) < count:
                frame, buffer = buffer.split("\n\n", 1)
                got += sse(frame + "\n\n")
            if len(got) >= count:
                break
    return got


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_turn_is_watched_while_it_runs_with_five_reconnects_at_changing_processes(webs, script, elsewhere):
    script.reply = slow()
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben")
    with webs[0].client(alice.token) as first, webs[1].client(alice.token) as second:
        turn_id, thread = in_the_background(first, session)
        events = []
        for n in range(5):
            client = second if elsewhere or n % 2 else first
            events += read_some(client, turn_id, len(events), 3)
        events += read_some(second if elsewhere else first, turn_id, len(events), 10_000)
        thread.join()
        turn = first.get(f"/turns/{turn_id}").json()
    assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
    assert texts(events) == {m["agent_key"]: m["content"] for m in turn["messages"][1:]}
    assert [name for _, name, _ in events if name in {"done", "error"}] == ["done"]
    assert events[-1][2]["balance_after"] == turn["balance_after"]


def test_after_the_end_every_position_gives_the_rest_at_any_process(webs, script):
    script.reply = slow(0.03)
    alice = make_person("alice")
    session = make_session(alice, "ann")
    with webs[0].client(alice.token) as first, webs[1].client(alice.token) as second:
        live = sse(first.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}).text)
        turn_id = live[-1][2]["turn_id"]
        for after in range(len(live)):
            for client in (first, second):
                answer = client.get(f"/turns/{turn_id}/events?after={after}")
                assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
                assert sse(answer.text) == live[after:]
        for after in (len(live), len(live) + 7):
            for client in (first, second):
                nothing = client.get(f"/turns/{turn_id}/events", headers={"Last-Event-ID": str(after)})
                assert (nothing.status_code, nothing.content) == (204, b"")


def test_a_stream_with_the_key_of_a_turn_that_runs_elsewhere_attaches_from_the_first_event(webs, script):
    script.reply = slow()
    alice = make_person("alice")
    session = make_session(alice, "ann")
    headers = {"Idempotency-Key": "one"}
    answers = []
    with webs[0].client(alice.token) as first, webs[1].client(alice.token) as second:
        url = f"/sessions/{session}/turns/stream"
        thread = threading.Thread(
            target=lambda: answers.append(first.post(url, json={"message": "hi"}, headers=headers))
        )
        thread.start()
        while not Turn.objects.filter(session_id=session).exists():
            time.sleep(0.01)
        attached = second.post(url, json={"message": "hi"}, headers=headers)
        thread.join()
    assert attached.headers["idempotency-replayed"] == "true"
    assert sse(attached.text) == sse(answers[0].text)
    assert Turn.objects.filter(session_id=session).count() == 1


@pytest.mark.parametrize("bad", ["-1", "x", "1.5", "9" * 10, "１", " 1", "1e3"])
def test_a_position_that_is_none_is_refused(web, script, bad):
    script.reply = Reply(usage=USAGE)
    alice, bob = make_person("alice"), make_person("bob")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client, web.client(bob.token) as bobs:
        turn_id = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()["id"]
        refused = client.get(f"/turns/{turn_id}/events", params={"after": bad})
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
        assert bobs.get(f"/turns/{turn_id}/events").status_code == 404
        assert bobs.get(f"/turns/{uuid7()}/events").status_code == 404


def test_events_are_gone_after_their_time_and_the_turn_stays(committed, provider, script):
    script.reply = Reply(usage=USAGE)
    alice = make_person("alice")
    session = make_session(alice, "ann")
    environment = {"LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "EVENTS_TTL_S": "1"}
    with web_processes(1, **environment) as (web,), web.client(alice.token) as client:
        headers = {"Idempotency-Key": "one"}
        live = client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers=headers)
        turn_id = sse(live.text)[-1][2]["turn_id"]
        assert client.get(f"/turns/{turn_id}/events").status_code == 200
        time.sleep(2.1)
        for after in (0, 3):
            gone = client.get(f"/turns/{turn_id}/events?after={after}")
            assert (gone.status_code, gone.json()["code"]) == (410, "events_expired")
        assert client.get(f"/turns/{turn_id}").json()["status"] == "completed"
        # A request made again gets its turn all the same.
        again = client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers=headers)
        assert sse(again.text)[-1] == (
            len(sse(again.text)),
            "done",
            {**sse(live.text)[-1][2], "seq": len(sse(again.text))},
        )


def test_without_redis_viewers_here_see_it_live_and_others_see_the_stored_turn(committed, provider, script):
    script.reply = slow()
    alice = make_person("alice")
    session = make_session(alice, "ann")
    environment = {
        "LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "REDIS_URL": "redis://127.0.0.1:1/0",
    }  # fmt: skip
    with web_processes(2, **environment) as (here, there):
        with here.client(alice.token) as first, there.client(alice.token) as second:
            turn_id, thread = in_the_background(first, session)
            live = read_some(first, turn_id, 0, 10_000)
            stored = sse(second.get(f"/turns/{turn_id}/events").text)
            lost = second.get(f"/turns/{turn_id}/events?after=4")
            thread.join()
            turn = first.get(f"/turns/{turn_id}").json()
    content = {m["agent_key"]: m["content"] for m in turn["messages"][1:]}
    assert texts(live) == texts(stored) == content
    assert (live[-1][1], stored[-1][1], turn["status"]) == ("done", "done", "completed")
    assert (lost.status_code, lost.json()["code"]) == (410, "events_expired")


def test_a_reader_of_more_than_redis_has_kept_is_not_told_that_it_has_read_the_end(webs, script):
    script.reply = slow(0.03)
    alice = make_person("alice")
    session = make_session(alice, "ann")
    with webs[0].client(alice.token) as client:
        live = sse(client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}).text)
        turn_id = live[-1][2]["turn_id"]
        time.sleep(2.1)
        with Redis.from_url(settings.REDIS_URL) as redis:
            # As after a restart with what Redis had saved some time ago.
            redis.xdel(f"tallyroom:turn:{turn_id}:events", *[f"{seq}-0" for seq, _, _ in live[3:]])
        kept = sse(client.get(f"/turns/{turn_id}/events").text)
        assert [name for _, name, _ in kept] == [*[name for _, name, _ in live[:3]], "done"]
        more = client.get(f"/turns/{turn_id}/events", headers={"Last-Event-ID": str(len(live) - 2)})
        assert (more.status_code, more.json()["code"]) == (410, "events_expired")
        # Whoever has read that end is through.
        assert client.get(f"/turns/{turn_id}/events?after={len(kept)}").status_code == 204


def test_a_viewer_of_a_turn_whose_process_dies_gets_its_end(committed, provider, script):
    script.reply = Reply(chunks=("a", "b"), usage=USAGE, fault="stall", fault_after=1)
    alice = make_person("alice")
    session = make_session(alice, "ann")
    environment = {
        "LLM_BASE_URL": provider.base_url,
        "LLM_API_KEY": "k",
        "TURN_LEASE_S": "2",
        "LLM_READ_TIMEOUT_S": "60",
    }
    with web_processes(2, **environment) as (doomed, there), there.client(alice.token) as client:
        with doomed.client(alice.token) as first, pytest.raises(httpx.ReadTimeout):
            first.post(f"/sessions/{session}/turns", json={"message": "hi"}, timeout=1)
        turn = Turn.objects.get(session_id=session)
        events = []
        watching = threading.Thread(target=lambda: events.extend(read_some(client, turn.id, 0, 10_000)))
        watching.start()
        time.sleep(0.5)
        doomed.kill()
        from sessions_app.turns.recovery import recover

        deadline = time.monotonic() + 30
        while not recover(turn.id) and time.monotonic() < deadline:
            time.sleep(0.1)
        watching.join(timeout=15)
        again = sse(client.get(f"/turns/{turn.id}/events").text)
    assert [name for _, name, _ in events] == ["turn_started", "agent_started", "chunk", "error"]
    assert events[-1][2]["code"] == "turn_interrupted"
    assert again == events


def test_a_running_turn_is_shown_with_what_it_has_said_so_far(webs, script):
    script.reply = slow(0.1)
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben")
    with webs[0].client(alice.token) as first, webs[1].client(alice.token) as second:
        turn_id, thread = in_the_background(first, session)
        read_some(first, turn_id, 0, 5)
        time.sleep(0.3)
        for client in (first, second):
            shown = client.get(f"/turns/{turn_id}").json()
            user, answer = shown["messages"]
            assert (shown["status"], user["content"], answer["agent_key"], answer["id"]) == (
                "running",
                "hi",
                "ann",
                None,
            )
            assert "".join(TEXT).startswith(answer["content"])
            assert len(answer["content"]) > len(TEXT[0])
        thread.join()
        ended = second.get(f"/turns/{turn_id}").json()
    assert [m["content"] for m in ended["messages"]] == ["hi", "".join(TEXT), "".join(TEXT)]
    assert None not in {m["id"] for m in ended["messages"]}


def test_a_turn_that_ended_in_the_queue_is_told_from_any_position(webs, script):
    alice = make_person("alice")
    session = make_session(alice, "ann")
    headers = {"Prefer": "respond-async"}
    with webs[0].client(alice.token) as first, webs[1].client(alice.token) as second:
        turn = first.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=headers).json()
        assert first.post(f"/turns/{turn['id']}/cancel").json()["status"] == "cancelled"
        for client in (first, second):
            whole = sse(client.get(f"/turns/{turn['id']}/events").text)
            assert [name for _, name, _ in whole] == ["turn_started", "done"]
            assert sse(client.get(f"/turns/{turn['id']}/events?after=1").text) == whole[1:]
            for after in (2, 3):
                assert client.get(f"/turns/{turn['id']}/events?after={after}").status_code == 204

"""Rate limits over HTTP, shared by two web processes: by any route, for one user, and never for a replay."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from billing.models import CreditHold, CreditTransaction
from sessions_app.models import Completion, Turn
from sessions_app.tests.e2e.servers import sse
from sessions_app.tests.makers import PASSWORD, make_person, make_session, make_standalone_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
WEB_PROCESSES = 2
TURNS, COMPLETIONS, FAILURES = 4, 3, 2
ENVIRONMENT = {
    "RATE_LIMIT_TURNS_PER_MINUTE": "100",
    "RATE_LIMIT_TURNS_PER_HOUR": str(TURNS),
    "RATE_LIMIT_COMPLETIONS_PER_MINUTE": str(COMPLETIONS),
    "RATE_LIMIT_LOGIN_FAILURES": str(FAILURES),
    "RATE_LIMIT_LOGIN_FAILURES_PER_ADDRESS": "6",
}
USAGE = {"prompt_tokens": 0, "completion_tokens": 500}


@pytest.fixture(autouse=True)
def _answers(script):
    script.reply = Reply(usage=USAGE)


def refused(answer):
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["title"]) == (429, "rate_limited", "Too many requests")
    assert answer.headers["Retry-After"] == str(problem["retry_after_seconds"])
    assert answer.headers["Content-Type"] == "application/problem+json"
    return problem["retry_after_seconds"]


def state_of(person):
    return (
        Turn.objects.filter(user_id=person.id).count(),
        CreditHold.objects.filter(user_id=person.id).count(),
        CreditTransaction.objects.filter(user_id=person.id).count(),
    )


def test_two_processes_let_through_what_one_would(webs):
    alice, bob = make_person("alice"), make_person("bob")
    sessions = [make_standalone_session(alice, f"solo{number}") for number in range(12)]

    def post(number):
        with webs[number % 2].client(alice.token) as client:
            return client.post(f"/sessions/{sessions[number]}/turns", json={"message": "hi"})

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(post, range(12)))
    assert sorted(answer.status_code for answer in answers) == [201] * TURNS + [429] * (12 - TURNS)
    for answer in answers:
        if answer.status_code == 429:
            assert 3_500 < refused(answer) <= 3_600
    # A refusal costs nothing: no turn, no hold, no entry.
    assert state_of(alice) == (TURNS, TURNS, TURNS + 1)
    with webs[0].client(bob.token) as client:
        session = make_standalone_session(bob)
        assert client.post(f"/sessions/{session}/turns", json={"message": "hi"}).status_code == 201


def test_every_route_that_makes_a_turn_counts_and_a_replay_does_not(webs):
    alice = make_person("alice")
    session = make_session(alice, "ann")
    posted = {"json": {"message": "hi"}, "headers": {"Idempotency-Key": "first"}}
    with webs[0].client(alice.token) as one, webs[1].client(alice.token) as two:
        first = one.post(f"/sessions/{session}/turns", **posted)
        turn_id = first.json()["id"]
        stream = two.post(f"/sessions/{session}/turns/stream", json={"message": "again"})
        assert sse(stream.text)[-1][1] == "done"
        last = sse(stream.text)[-1][2]["turn_id"]
        anew = one.post(f"/turns/{last}/regenerate", json={}).json()["id"]
        assert two.post(f"/turns/{anew}/regenerate/stream", json={}).status_code == 200
        # Four are made. Every route refuses, and what would be refused anyhow is refused for that.
        before = state_of(alice)
        refused(one.post(f"/sessions/{session}/turns", json={"message": "hi"}))
        refused(two.post(f"/sessions/{session}/turns/stream", json={"message": "hi"}))
        refused(one.post(f"/turns/{turn_id}/regenerate", json={}))
        refused(two.post(f"/turns/{turn_id}/resume", json={}))
        refused(two.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers={"Prefer": "respond-async"}))
        assert one.post(f"/sessions/{session}/turns", json={}).status_code == 422
        assert state_of(alice) == before == (4, 4, 5)
        for client in (one, two, one, two):
            replay = client.post(f"/sessions/{session}/turns", **posted)
            assert (replay.status_code, replay.json()["id"]) == (201, turn_id)
            assert replay.headers["Idempotency-Replayed"] == "true"
        other = one.post(f"/sessions/{session}/turns", json={"message": "other"}, headers={"Idempotency-Key": "first"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert one.post(f"/sessions/{session}/turns/estimate", json={"message": "hi"}).status_code == 200


def test_what_is_refused_for_another_reason_takes_no_place(webs):
    alice = make_person("alice", credits="0")
    session = make_standalone_session(alice)
    with webs[0].client(alice.token) as client:
        for _ in range(TURNS + 2):
            answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"})
            assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_credits")
    assert state_of(alice) == (0, 0, 0)


def test_completions_have_a_limit_of_their_own(webs):
    alice = make_person("alice")
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}

    def complete(number, **headers):
        with httpx.Client(base_url=webs[number % 2].url, timeout=60) as client:
            headers = {"Authorization": f"Bearer {alice.token}", **headers}
            return client.post("/v1/chat/completions", json=body, headers=headers)

    assert complete(0, **{"Idempotency-Key": "k"}).status_code == 200
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(complete, range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * (COMPLETIONS - 1) + [429] * (9 - COMPLETIONS)
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= refused(limited) <= 60
    assert limited.json()["error"] == {
        "message": limited.json()["detail"], "type": "rate_limit_exceeded", "param": None, "code": "rate_limited",
    }  # fmt: skip
    assert complete(1, **{"Idempotency-Key": "k"}).headers["Idempotency-Replayed"] == "true"
    assert Completion.objects.filter(user_id=alice.id).count() == COMPLETIONS


def test_failed_logins_are_counted_for_an_address_and_successful_ones_are_not(webs, settings):
    # The web processes know no other hasher than the production one.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    alice, bob = make_person("alice"), make_person("bob")

    def log_in(number, email, password):
        with webs[number % 2].client() as client:
            return client.post("/auth/token", json={"email": email, "password": password})

    for number in range(FAILURES + 3):
        assert log_in(number, alice.email, PASSWORD).status_code == 200
    for number in range(FAILURES):
        assert log_in(number, alice.email.upper() if number else alice.email, "wrong").status_code == 401
    # The right password is not looked at any more: else this would be where guesses are told apart.
    assert 800 < refused(log_in(0, alice.email, PASSWORD)) <= 900
    assert 800 < refused(log_in(1, alice.email, "wrong")) <= 900
    # Bob comes from the same address, and may still fail, until the address has too many failures.
    assert log_in(0, bob.email, PASSWORD).status_code == 200
    for number in range(2):
        assert log_in(0, f"nobody{number}-{alice.id}@example.com", "wrong").status_code == 401
        assert log_in(1, f"nobody{number}-{bob.id}@example.com", "wrong").status_code == 401
    refused(log_in(1, bob.email, PASSWORD))


def test_health_says_that_limits_are_in_force(webs):
    with webs[0].client() as client:
        assert client.get("/health").json()["checks"]["rate_limits"] == "ok"

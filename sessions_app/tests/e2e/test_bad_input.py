"""What a user gets for bad input: the code of the contract, nothing written, nothing billed."""

from __future__ import annotations

import json

import httpx
import pytest

from billing.models import CreditHold, CreditWallet
from config.core.ids import uuid7
from pricing import cache as price_cache
from sessions_app import services
from sessions_app.models import Message, Turn, TurnStep
from sessions_app.tests.makers import make_agents, make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]


def state_of(person):
    """Everything that a turn could have written for this person."""
    wallet = CreditWallet.objects.get(user_id=person.id)
    return (
        wallet.last_seq, wallet.balance, wallet.held,
        Turn.objects.filter(user_id=person.id).count(),
        TurnStep.objects.filter(turn__user_id=person.id).count(),
        Message.objects.filter(session__user_id=person.id).count(),
        CreditHold.objects.filter(user_id=person.id).count(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def alice(committed):
    return make_person("alice")


@pytest.fixture(scope="module")
def session(alice):
    return make_session(alice, "solo")


BODIES = [
    ({}, "message"),
    ({"message": ""}, "message"),
    ({"message": "   \n"}, "message"),
    ({"message": None}, "message"),
    ({"message": 5.5e300 * 10}, "message"),
    ({"message": ["hi"]}, "message"),
    ({"message": {"a": 1}}, "message"),
    ({"message": "nul \x00 byte"}, "message"),
    ({"message": "\ud800 half a pair"}, "message"),
    ({"message": "hi", "max_output_tokens": 0}, "max_output_tokens"),
    ({"message": "hi", "max_output_tokens": -1}, "max_output_tokens"),
    ({"message": "hi", "max_output_tokens": 4097}, "max_output_tokens"),
    ({"message": "hi", "max_output_tokens": "many"}, "max_output_tokens"),
    ({"message": "hi", "max_output_tokens": 1.5}, "max_output_tokens"),
    ({"message": "hi", "max_output_tokens": 10**400}, "max_output_tokens"),
    ({"message": "hi", "model_alias_override": 5}, "model_alias_override"),
    ({"message": "hi", "model_alias_override": "x" * 65}, "model_alias_override"),
    ({"message": "hi", "on_busy": "panic"}, "on_busy"),
    ({"message": "hi", "max_tokens": 5}, "max_tokens"),
    (["message"], ""),
    ("hi", ""),
    (None, ""),
]


@pytest.mark.parametrize("route", ["turns", "turns/stream", "turns/estimate"])
@pytest.mark.parametrize(("body", "field"), BODIES)
def test_a_wrong_body_is_refused_and_named(web, provider, alice, session, route, body, field):
    before, calls = state_of(alice), len(provider.journal)
    with web.client(alice.token) as client:
        answer = client.post(
            f"/sessions/{session}/{route}",
            content=json.dumps(body).encode("utf-8", "surrogatepass"),
            headers={"Content-Type": "application/json"},
        )
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"]) == (422, "validation_error")
    assert field == "" or field in [error["field"] for error in problem["errors"]]
    assert (state_of(alice), len(provider.journal)) == (before, calls)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b'{"message": NaN}', "application/json", 400, "malformed_json"),
        (b"\xff\xfe", "application/json", 400, "malformed_json"),
        (b'{"message": "' + b"x" * 2_000_000 + b'"}', "application/json", 413, "request_too_large"),
        (b"message=hi", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"hi", "text/plain", 415, "unsupported_media_type"),
    ],
)
def test_a_body_that_is_no_json_of_ours_is_refused(web, alice, session, content, content_type, status, code):
    before = state_of(alice)
    with web.client(alice.token) as client:
        answer = client.post(
            f"/sessions/{session}/turns", content=content,
            headers={"Content-Type": content_type, "X-Request-ID": "bad-input-1"},
        )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "bad-input-1"
    assert state_of(alice) == before


def test_a_body_of_undeclared_length_is_cut_off_at_the_limit(web, alice, session):
    def endless():
        for _ in range(400):
            yield b"x" * 10_000

    before = state_of(alice)
    with web.client(alice.token) as client:
        try:
            answer = client.post(
                f"/sessions/{session}/turns", content=endless(), headers={"Content-Type": "application/json"}
            )
        except httpx.WriteError:
            answer = None  # The server may hang up while we still send; what counts is that nothing was written.
    assert answer is None or (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
    assert state_of(alice) == before


def test_a_body_of_undeclared_length_is_read_as_any_other(web, provider, script, alice, session):
    script.reply = Reply(usage={"prompt_tokens": 100, "completion_tokens": 65})
    provider.journal.clear()
    key = {"Content-Type": "application/json", "Idempotency-Key": "in-pieces"}
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", content=iter([b'{"message":', b' "in pieces"}']), headers=key)
        assert (turn.status_code, turn.json()["user_input"]) == (201, "in pieces")
        other = client.post(f"/sessions/{session}/turns", content=iter([b'{"message": "other"}']), headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        again = client.post(f"/sessions/{session}/turns", json={"message": "in pieces"}, headers=key)
        assert again.headers["idempotency-replayed"] == "true"
        regenerate = iter([b'{"model_alias_', b'override": "deepseek"}'])
        anew = client.post(
            f"/turns/{turn.json()['id']}/regenerate", content=regenerate, headers={"Content-Type": "application/json"}
        )
        assert anew.status_code == 201
    asked = [exchange.body["model"] for exchange in provider.journal]
    assert asked == [provider_model_of("gpt-4o"), provider_model_of("deepseek")]


def provider_model_of(alias):
    return price_cache.current().find(alias).provider_model


def test_an_alias_without_a_price_is_refused_by_name_before_any_call(web, provider, alice, session):
    before, calls = state_of(alice), len(provider.journal)
    with web.client(alice.token) as client:
        for alias in ("gpt-4o-2", "gpt", "GPT-4o"):
            body = {"message": "hi", "model_alias_override": alias}
            answer = client.post(f"/sessions/{session}/turns", json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_model_alias")
            assert alias in answer.json()["detail"]
            assert (state_of(alice), len(provider.journal)) == (before, calls)


def test_a_message_that_does_not_fit_the_model_is_refused(web, alice, session):
    before = state_of(alice)
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "x" * 900_000})
    assert (answer.status_code, answer.json()["code"]) == (422, "context_budget_exceeded")
    assert answer.json()["model_alias"] == "gpt-4o"
    assert state_of(alice) == before


def test_an_empty_room_is_refused(web, alice):
    session = make_session(alice)
    before = state_of(alice)
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"})
    assert (answer.status_code, answer.json()["code"]) == (422, "no_room_agents")
    assert state_of(alice) == before


def test_what_is_deleted_or_somebody_elses_is_not_found(web, alice, session):
    bob = make_person("bob")
    bobs = make_session(bob, "bobs")
    room_gone, session_gone = make_session(alice, "solo"), make_session(alice, "solo")
    services.delete_room(services.session_of(user_id=alice.id, session_id=room_gone).room)
    services.delete_session(services.session_of(user_id=alice.id, session_id=session_gone))
    before, bob_before = state_of(alice), state_of(bob)
    with web.client(alice.token) as client:
        missing = client.post(f"/sessions/{uuid7()}/turns", json={"message": "hi"}).json()
        for wrong in (room_gone, session_gone, bobs):
            for route in ("turns", "turns/stream", "turns/estimate"):
                answer = client.post(f"/sessions/{wrong}/{route}", json={"message": "hi"})
                assert (answer.status_code, answer.json()) == (404, missing)
            for route in ("", "/turns", "/messages"):
                answer = client.get(f"/sessions/{wrong}{route}")
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (state_of(alice), state_of(bob)) == (before, bob_before)


def test_another_users_turn_and_bill_are_not_found(web, script, alice, session):
    bob = make_person("bob")
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()
    with web.client(bob.token) as client:
        for path in (f"/turns/{turn['id']}", f"/turns/{turn['id']}/bill"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("deleted", ["session", "room"])
def test_a_turn_goes_with_its_session_or_room_and_its_money_stays(web, script, deleted):
    carol = make_person("carol")
    session = make_session(carol, "solo")
    with web.client(carol.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()
        room = client.get(f"/sessions/{session}").json()["room_id"]
        client.delete(f"/sessions/{session}" if deleted == "session" else f"/rooms/{room}")
        for path in (f"/turns/{turn['id']}", f"/turns/{turn['id']}/bill"):
            assert client.get(path).status_code == 404
        entries = client.get("/users/me/transactions").json()["results"]
    assert [entry["reference_id"] for entry in entries if entry["kind"] == "debit"] == [turn["id"]]


def test_the_402_says_what_is_missing_and_what_would_fit(web, provider, alice):
    poor = make_person("poor", credits="0.02")
    session = make_session(poor, "solo")
    before, calls = state_of(poor), len(provider.journal)
    body = {"message": "hi", "max_output_tokens": 1_000}
    with web.client(poor.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json=body)
        estimate = client.post(f"/sessions/{session}/turns/estimate", json=body).json()
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (402, "insufficient_credits")
    # Bound: ceil(13 / 3) + ceil(2 / 3) bytes are counted together: 15 bytes are 5 tokens, and 8 for each message.
    # (0.35 x 21 + 1000) x 2 / 10000 = 0.20147
    assert (problem["balance"], problem["held"], problem["available"]) == ("0.02000000", "0.00000000", "0.02000000")
    assert problem["required"] == estimate["credits_first_call"] == "0.20147000"
    assert estimate["would_be_refused"] is True
    assert problem["affordable_models"] == []
    assert problem["affordable_max_output_tokens"] == 92
    assert (state_of(poor), len(provider.journal)) == (before, calls)
    with web.client(poor.token) as client:
        fits = client.post(f"/sessions/{session}/turns", json={"message": "hi", "max_output_tokens": 92})
        assert fits.status_code == 201


def test_the_402_names_the_models_that_would_fit(web, alice):
    poor = make_person("poor", credits="0.06")
    session = make_session(poor, "solo")
    with web.client(poor.token) as client:
        problem = client.post(f"/sessions/{session}/turns", json={"message": "hi", "max_output_tokens": 1_000}).json()
        # 0.5 x 0.1007 fits into 0.06; 0.8 and more do not.
        assert problem["affordable_models"] == ["deepseek"]
        body = {"message": "hi", "max_output_tokens": 1_000, "model_alias_override": "deepseek"}
        assert client.post(f"/sessions/{session}/turns", json=body).status_code == 201


ROOM_BODIES = [
    ({}, "name"), ({"name": ""}, "name"), ({"name": "x" * 101}, "name"), ({"name": "a\x00"}, "name"),
    ({"name": "r", "mode": "standalone"}, "mode"), ({"name": "r", "mode": "chaos"}, "mode"),
    ({"name": "r", "goal": 5.0}, "goal"), ({"name": "r", "owner": "bob"}, "owner"), ([], ""),
]  # fmt: skip
AGENT_BODIES = [
    ({"agent_key": "Upper", "model_alias": "gpt-4o"}, "agent_key"),
    ({"agent_key": "x" * 33, "model_alias": "gpt-4o"}, "agent_key"),
    ({"agent_key": "ok\n", "model_alias": "gpt-4o"}, "agent_key"),
    ({"agent_key": "", "model_alias": "gpt-4o"}, "agent_key"),
    ({"agent_key": "ok"}, "model_alias"),
    ({"agent_key": "ok", "model_alias": "gpt-4o", "tool_permissions": ["rm"]}, "tool_permissions.0"),
    ({"agent_key": "ok", "model_alias": "gpt-4o", "role_prompt": "x" * 20_001}, "role_prompt"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "field"), [("rooms", *case) for case in ROOM_BODIES] + [("agents", *case) for case in AGENT_BODIES]
)
def test_bad_rooms_and_agents_are_refused(web, alice, path, body, field):
    with web.client(alice.token) as client:
        answer = client.post(f"/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert field == "" or field in [error["field"] for error in answer.json()["errors"]]


def test_an_agent_key_is_taken_once(web):
    carol = make_person("carol")
    make_agents(carol, "ann")
    with web.client(carol.token) as client:
        answer = client.post("/agents", json={"agent_key": "ann", "model_alias": "gpt-4o"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "agent_key")
        unknown = client.post("/agents", json={"agent_key": "ben", "model_alias": "gpt-5"})
        assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_model_alias")
        assert len(client.get("/agents").json()["results"]) == 1

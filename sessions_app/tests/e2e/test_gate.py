"""The gate over HTTP: between calls, by alias, by limit. What a 402 says is what the wallet and the estimate say."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing import ledger
from billing.models import CreditHold, CreditWallet, LLMCallEvent, ShadowRefusal
from billing.tests.makers import credits
from sessions_app.models import Agent, Session, Turn
from sessions_app.tests.e2e.servers import sse
from sessions_app.tests.makers import make_agents, make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from users import api_keys
from users.models import User

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
# 1,000 tokens of gpt-4o cost 0.2 credits.
USAGE = {"prompt_tokens": 0, "completion_tokens": 1_000}
ASKED = {"message": "hi", "max_output_tokens": 1_000}


@pytest.fixture
def alice():
    return make_person("alice")


def key_of(person):
    return api_keys.issue(User.objects.get(pk=person.id), name="ci")


def cap(client, subject, subject_id, amount):
    body = {"subject": subject, "subject_id": str(subject_id), "period": "day", "amount": amount}
    answer = client.post("/users/me/spending-limits", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_turn_of_two_hundred_calls_overdraws_by_no_more_than_the_error_of_one(web, script):
    # The provider counts more than it was allowed to say: 150 tokens for at most 100.
    script.reply = Reply(chunks=("x",), usage={"prompt_tokens": 0, "completion_tokens": 150})
    alice = make_person("alice", credits="1.5")
    keys = [f"a{number}" for number in range(200)]
    make_agents(alice, *keys, model_alias="deepseek")
    session = make_session(alice, *keys)
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi", "max_output_tokens": 100}).json()
    events = LLMCallEvent.objects.filter(turn_id=turn["id"])
    assert turn["status"] == "partial"
    assert [warning["code"] for warning in turn["warnings"]] == ["insufficient_credits"]
    assert 50 < events.count() < 200
    # A call costs 150 x 0.5 / 10000 and was held for with at least 100 x 0.5 / 10000.
    assert Decimal(turn["balance_after"]) >= -Decimal("0.0025")
    assert Decimal(turn["usage"]["credits_charged"]) == Decimal("0.0075") * events.count()
    assert Decimal(turn["balance_after"]) == Decimal("1.5") - Decimal(turn["usage"]["credits_charged"])
    assert CreditWallet.objects.get(user_id=alice.id).held == 0


def test_a_402_an_estimate_and_the_wallet_say_the_same_of_scoped_grants(web, script, provider):
    script.reply = Reply(usage=USAGE)
    alice = make_person("alice", credits="0.01")
    ledger.grant(user_id=alice.id, amount=credits("5"), reason="x", initiated_by="t", aliases=["deepseek"])
    session, cheap = make_session(alice, "ann"), make_session(alice, "dee", model_alias="deepseek")
    calls = len(provider.journal)
    with web.client(alice.token) as client:
        refused = client.post(f"/sessions/{session}/turns", json=ASKED)
        estimate = client.post(f"/sessions/{session}/turns/estimate", json=ASKED).json()
        wallet = client.get("/users/me/wallet").json()
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (402, "insufficient_credits")
        assert (problem["balance"], problem["held"]) == (wallet["balance"], wallet["held"])
        assert problem["available"] == estimate["available"] == "0.01000000"
        assert problem["required"] == estimate["credits_first_call"]
        assert (estimate["would_be_refused"], estimate["refused_by"]) == (True, "insufficient_credits")
        assert problem["affordable_models"] == ["deepseek"]
        assert len(provider.journal) == calls
        # What it says that fits, fits.
        fits = {**ASKED, "max_output_tokens": problem["affordable_max_output_tokens"]}
        assert client.post(f"/sessions/{session}/turns/estimate", json=fits).json()["would_be_refused"] is False
        over = {**ASKED, "max_output_tokens": problem["affordable_max_output_tokens"] + 1}
        assert client.post(f"/sessions/{session}/turns", json=over).status_code == 402
        paid = client.post(f"/sessions/{cheap}/turns", json=ASKED)
        assert (paid.status_code, paid.json()["balance_after"]) == (201, "4.96000000")
    assert Turn.objects.filter(user_id=alice.id).count() == 1


def test_credits_for_another_alias_count_for_no_suggestion_at_either_door(web, script):
    # 0.12 in all would cover some 590 tokens of gpt-4o; 0.02 of it may.
    alice = make_person("alice", credits="0.02")
    ledger.grant(user_id=alice.id, amount=credits("0.1"), reason="x", initiated_by="t", aliases=["deepseek"])
    session = make_session(alice, "ann")
    direct = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1_000}
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json=ASKED).json()
        completion = client.post(f"{web.url}/v1/chat/completions", json=direct).json()
        assert (turn["available"], completion["available"]) == ("0.02000000", "0.02000000")
        assert (turn["balance"], completion["balance"]) == ("0.12000000", "0.12000000")
        script.reply = Reply(usage={"prompt_tokens": 0, "completion_tokens": 0})
        shorter = {**ASKED, "max_output_tokens": turn["affordable_max_output_tokens"]}
        assert client.post(f"/sessions/{session}/turns", json=shorter).status_code == 201
        shorter = {**direct, "max_tokens": completion["affordable_max_output_tokens"]}
        assert client.post(f"{web.url}/v1/chat/completions", json=shorter).status_code == 200
    assert 0 < turn["affordable_max_output_tokens"] < 100
    assert 0 < completion["affordable_max_output_tokens"] < 100


def test_a_room_at_its_limit_is_refused_and_another_is_not(web, script, alice):
    script.reply = Reply(usage=USAGE)
    capped, free = make_session(alice, "ann"), make_session(alice, "ben")
    room = Session.objects.get(id=capped).room_id
    with web.client(alice.token) as client:
        limit = cap(client, "room", room, "0.3")
        assert client.post(f"/sessions/{capped}/turns", json=ASKED).status_code == 201
        refused = client.post(f"/sessions/{capped}/turns", json=ASKED)
        estimate = client.post(f"/sessions/{capped}/turns/estimate", json=ASKED).json()
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (402, "spending_limit_reached")
        shown = {name: problem[name] for name in ("limit_id", "subject", "period", "limit", "spent", "held")}
        assert shown == {
            "limit_id": limit["id"], "subject": "room", "period": "day", "limit": "0.30000000",
            "spent": "0.20000000", "held": "0.00000000",
        }  # fmt: skip
        assert problem["required"] == estimate["credits_first_call"]
        assert (estimate["would_be_refused"], estimate["refused_by"]) == (True, "spending_limit_reached")
        assert client.post(f"/sessions/{free}/turns", json=ASKED).status_code == 201
    assert Turn.objects.filter(session_id=capped).count() == 1
    assert CreditHold.objects.filter(user_id=alice.id, status="open").count() == 0


def test_an_agent_at_its_limit_ends_the_turn_and_what_ran_is_kept(web, script, alice):
    script.reply = Reply(chunks=("fine",), usage=USAGE)
    session = make_session(alice, "ann", "ben", "cal")
    with web.client(alice.token) as client:
        cap(client, "agent", Agent.objects.get(user_id=alice.id, agent_key="ben").id, "0.1")
        events = sse(client.post(f"/sessions/{session}/turns/stream", json=ASKED).text)
        warnings = [data["code"] for _, name, data in events if name == "warning"]
        assert warnings == ["spending_limit_reached"]
        assert (events[-1][1], events[-1][2]["status"]) == ("done", "partial")
        turn = client.get(f"/turns/{events[-1][2]['turn_id']}").json()
    assert [message["agent_key"] for message in turn["messages"][1:]] == ["ann"]
    assert (turn["usage"]["credits_charged"], turn["balance_after"]) == ("0.20000000", "9.80000000")


def test_a_key_is_capped_in_rooms_and_at_the_openai_door_and_its_owner_is_not(web, script, alice):
    script.reply = Reply(usage=USAGE)
    key, other = key_of(alice), key_of(alice)
    session = make_session(alice, "ann")
    direct = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1_000}
    with web.client(alice.token) as owner, web.client(key.key) as machine, web.client(other.key) as second:
        cap(owner, "api_key", key.row.id, "0.5")
        assert machine.post(f"/sessions/{session}/turns", json=ASKED).status_code == 201
        at_the_door = machine.post(f"{web.url}/v1/chat/completions", json=direct)
        assert at_the_door.status_code == 200, at_the_door.text
        for refused in (
            machine.post(f"/sessions/{session}/turns", json=ASKED),
            machine.post(f"{web.url}/v1/chat/completions", json=direct),
        ):
            assert refused.status_code == 402
            assert refused.json()["code"] == "spending_limit_reached"
        assert second.post(f"/sessions/{session}/turns", json=ASKED).status_code == 201
        assert owner.post(f"/sessions/{session}/turns", json=ASKED).status_code == 201
        [shown] = machine.get("/users/me/spending-limits").json()["results"]
        assert (shown["spent"], shown["held"]) == ("0.40000000", "0.00000000")
    by_key = LLMCallEvent.objects.filter(user_id=alice.id).values_list("api_key_id", flat=True)
    assert sorted(map(str, by_key)) == sorted(map(str, [key.row.id, key.row.id, other.row.id, None]))


def test_warn_lets_the_turn_through_and_tells_staff(web, script):
    script.reply = Reply(usage=USAGE)
    alice, staff = make_person("alice", credits="0.1"), make_person("staff", is_staff=True, is_superuser=True)
    session = make_session(alice, "ann", "ben")
    with web.client(alice.token) as client, web.client(staff.token) as desk:
        assert client.post(f"/sessions/{session}/turns", json=ASKED).status_code == 402
        desk.patch(f"/admin/users/{alice.id}/enforcement", json={"enforcement": "warn"})
        turn = client.post(f"/sessions/{session}/turns", json=ASKED).json()
    assert (turn["status"], turn["balance_after"], turn["low_balance"]) == ("completed", "-0.30000000", True)
    row = ShadowRefusal.objects.get(user_id=alice.id)
    assert (str(row.reference_id), row.stage, row.model_alias) == (turn["id"], "opening", "gpt-4o")

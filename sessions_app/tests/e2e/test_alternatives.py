"""What a 402 says that fits, fits; and what it does not name, does not. Asked of the gate itself."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing import ledger
from billing.models import CreditGrant, CreditTransaction, CreditWallet
from billing.tests.makers import credits
from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.models import Turn
from sessions_app.tests.e2e.test_orchestrator import routing
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
FREE = Reply(chunks=("word " * 60,), usage={"prompt_tokens": 0, "completion_tokens": 0})
# Of the conversation, "asked" reads the end, "small" little and "wide" all.
ALIASES = {"asked": (2_000, "2"), "small": (500, "0.5"), "wide": (100_000, "1"), "gratis": (400, "0")}


@pytest.fixture(scope="module", autouse=True)
def aliases(committed):
    for alias, (context_tokens, multiplier) in ALIASES.items():
        fields = {
            "multiplier": Decimal(multiplier), "provider": "default", "provider_model": alias,
            "context_tokens": context_tokens,
        }  # fmt: skip
        put_model(pricing_version=SEED, model_alias=alias, fields=fields, actor="test")


def leave(person, amount):
    """Take the wallet down to this balance."""
    taken = CreditWallet.objects.get(user_id=person.id).balance - credits(amount)
    ledger.adjust(user_id=person.id, amount=-taken, reason="test", initiated_by="test")


def fitting(client, session, body):
    """The aliases with which an estimate says that the turn would open."""
    known = [model["model_alias"] for model in client.get("/models").json()["results"]]
    estimates = {
        alias: client.post(f"/sessions/{session}/turns/estimate", json={**body, "model_alias_override": alias}).json()
        for alias in known
    }
    return [alias for alias, estimate in estimates.items() if estimate.get("would_be_refused") is False]


def test_a_long_session_is_offered_what_its_retry_would_be_admitted_with(web, script):
    script.reply = FREE
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="asked")
    with web.client(alice.token) as client:
        for _ in range(20):
            said = {"message": "Tell me more of that.", "max_output_tokens": 100}
            assert client.post(f"/sessions/{session}/turns", json=said).status_code == 201
        leave(alice, "0.16")
        body = {"message": "And then?", "max_output_tokens": 1_000}
        refused = client.post(f"/sessions/{session}/turns", json=body)
        problem, longest = refused.json(), refused.json()["affordable_max_output_tokens"]
        assert (refused.status_code, problem["available"]) == (402, "0.16000000")
        assert sorted(problem["affordable_models"]) == sorted(fitting(client, session, body))
        assert {"small", "gratis"} <= {*problem["affordable_models"]}
        assert not {"asked", "wide"} & {*problem["affordable_models"]}
        # What the refused call would have read leaves credits for more than this; a shorter answer reads more.
        assert 50 < longest < 250
        over = {**body, "max_output_tokens": longest + 1}
        assert client.post(f"/sessions/{session}/turns", json=over).status_code == 402
        assert client.post(f"/sessions/{session}/turns", json={**body, "max_output_tokens": longest}).status_code == 201
        narrow = {**body, "model_alias_override": "small"}
        assert client.post(f"/sessions/{session}/turns", json=narrow).status_code == 201
    assert Turn.objects.filter(session_id=session).count() == 22


def test_no_shorter_answer_helps_where_the_first_call_is_a_choice_of_speakers(web, script):
    alice = make_person("alice", credits="0.00000001")
    session = make_session(alice, "ann", "ben", mode="orchestrator", model_alias="asked")
    body = {"message": "hi", "max_output_tokens": 1_000}
    with web.client(alice.token) as client:
        problem = client.post(f"/sessions/{session}/turns", json=body).json()
        assert (problem["code"], problem["affordable_max_output_tokens"]) == ("insufficient_credits", None)
        assert problem["affordable_models"] == fitting(client, session, body)


def test_a_turn_whose_routing_ate_the_credits_is_failed_with_the_numbers_of_the_refusal(web, script):
    # The orchestrator's choice is paid for; what is left does not cover the first agent, who may write much.
    script.reply = Reply(chunks=(routing("ann"),), usage={"prompt_tokens": 100, "completion_tokens": 100})
    alice = make_person("alice", credits="0.25")
    session = make_session(alice, "ann", "ben", mode="orchestrator", model_alias="asked")
    body = {"message": "hi", "max_output_tokens": 1_500}
    with web.client(alice.token) as client:
        failed = client.post(f"/sessions/{session}/turns", json=body, headers={"Idempotency-Key": "k1"})
        again = client.post(f"/sessions/{session}/turns", json=body, headers={"Idempotency-Key": "k1"})
        problem = failed.json()
        turn, wallet = client.get(f"/turns/{problem['turn_id']}").json(), client.get("/users/me/wallet").json()
    assert (failed.status_code, problem["code"], problem["title"]) == (
        402, "insufficient_credits", "Insufficient credits",
    )  # fmt: skip
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (402, problem, "true")
    assert (turn["status"], turn["error"]["code"]) == ("failed", "insufficient_credits")
    # 135 OE tokens x 2 were charged for the choice; they were held when the agent's call was refused.
    charged = Decimal("0.027")
    assert Decimal(turn["usage"]["credits_charged"]) == charged
    assert Decimal(wallet["balance"]) == Decimal("0.25") - charged
    assert Decimal(problem["balance"]) == Decimal("0.25")
    assert Decimal(problem["available"]) < Decimal(problem["required"])
    assert (problem["affordable_models"], problem["affordable_max_output_tokens"]) == ([], None)


def test_a_completion_is_offered_aliases_that_would_answer_shorter(web, script):
    script.reply = FREE
    alice = make_person("alice", credits="0.03")
    body = {"model": "asked", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1_000}
    with web.client(alice.token) as client:
        problem = client.post(f"{web.url}/v1/chat/completions", json=body).json()
        assert problem["code"] == "insufficient_credits"
        assert {"small", "gratis"} <= {*problem["affordable_models"]}
        assert not {"asked", "wide"} & {*problem["affordable_models"]}
        known = [model["id"] for model in client.get(f"{web.url}/v1/models").json()["data"]]
        for alias in known:
            answer = client.post(f"{web.url}/v1/chat/completions", json={**body, "model": alias})
            assert answer.status_code == (200 if alias in problem["affordable_models"] else 402)


def test_a_free_alias_answers_an_overdrawn_wallet(web, script):
    script.reply = FREE
    alice = make_person("alice", credits="1")
    ledger.adjust(user_id=alice.id, amount=credits("-2"), reason="test", initiated_by="test")
    session = make_session(alice, "ann", model_alias="gratis")
    direct = {"model": "gratis", "messages": [{"role": "user", "content": "hi"}]}
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi", "max_output_tokens": 10})
        assert (turn.status_code, turn.json()["balance_after"]) == (201, "-1.00000000")
        assert client.post(f"{web.url}/v1/chat/completions", json=direct).status_code == 200


@pytest.mark.parametrize("door", ["turns", "completions"])
def test_a_refusal_and_the_wallet_after_it_say_the_same_of_what_has_expired(web, door):
    alice = make_person("alice", credits="0.01")
    soon = timezone.now() + timedelta(days=1)
    entry = ledger.grant(user_id=alice.id, amount=credits("5"), reason="x", initiated_by="t", expires_at=soon)
    lot = CreditTransaction.objects.get(id=entry).grant_id
    past = timezone.now() - timedelta(seconds=1)
    CreditGrant.objects.filter(id=lot).update(expires_at=past)
    CreditWallet.objects.filter(user_id=alice.id).update(next_expiry_at=past)
    session = make_session(alice, "ann", model_alias="asked")
    direct = {"model": "asked", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1_000}
    with web.client(alice.token) as client:
        for _ in range(2):
            if door == "turns":
                refused = client.post(f"/sessions/{session}/turns", json={"message": "hi", "max_output_tokens": 1_000})
            else:
                refused = client.post(f"{web.url}/v1/chat/completions", json=direct)
            wallet = client.get("/users/me/wallet").json()
            shown = {name: refused.json()[name] for name in ("balance", "held", "available")}
            assert refused.status_code == 402
            assert shown == {name: wallet[name] for name in shown}
            assert wallet["balance"] == "0.01000000"
    assert [*CreditTransaction.objects.filter(user_id=alice.id, kind="expiry").values_list("amount", flat=True)] == [-5]

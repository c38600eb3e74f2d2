"""A provider that fails before any text: its fallback answers, at its own price; without one the others go on."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing.models import CreditTransaction, LLMCallEvent
from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.tests.e2e.scraping import scrape
from sessions_app.tests.e2e.servers import sse
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "1", "LLM_MAX_RETRIES": "0"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 100, "completion_tokens": 65}  # 100 OE tokens: 0.02 credits on gpt-4o
DOWN = Reply(status=503, headers={"Retry-After": "99"})


@pytest.fixture(scope="module", autouse=True)
def chain(committed):
    """first (x 1) falls back to second (x 3), second to third (x 0.5), third to first again."""
    names = ("first", "second", "third")
    values = (Decimal(1), Decimal(3), Decimal("0.5"))
    for name, multiplier in zip(names, values, strict=True):
        fields = {"multiplier": multiplier, "provider_model": f"{name}-model", "context_tokens": 8_000}
        put_model(pricing_version=SEED, model_alias=name, fields=fields, actor="test")
    for name, fallback in zip(names, ("second", "third", "first"), strict=True):
        put_model(pricing_version=SEED, model_alias=name, fields={"fallback_alias": fallback}, actor="test")
    small = {"multiplier": Decimal(1), "provider_model": "small-model", "context_tokens": 300}
    put_model(pricing_version=SEED, model_alias="small", fields=small, actor="test")
    big = {"multiplier": Decimal(1), "provider_model": "big", "context_tokens": 8_000, "fallback_alias": "small"}
    put_model(pricing_version=SEED, model_alias="big", fields=big, actor="test")


def answers_only(*working):
    return lambda body: Reply(chunks=("fine",), usage=USAGE) if body["model"] in working else DOWN


def run(web, person, session, **body):
    with web.client(person.token) as client:
        events = sse(client.post(f"/sessions/{session}/turns/stream", json={"message": "hi", **body}).text)
        turn_id = events[-1][2]["turn_id"]
        turn, bill = client.get(f"/turns/{turn_id}").json(), client.get(f"/turns/{turn_id}/bill").json()
    return events, turn, bill


def test_the_fallback_answers_is_billed_at_its_own_price_and_said_in_a_warning(web, script):
    script.reply = answers_only("second-model")
    alice = make_person("alice")
    counted = scrape(web).sum("fallbacks_used_total", model_alias="first", fallback_alias="second")
    events, turn, bill = run(web, alice, make_session(alice, "ann", "ben", model_alias="first"))
    assert scrape(web).sum("fallbacks_used_total", model_alias="first", fallback_alias="second") == counted + 2
    assert (turn["status"], [m["content"] for m in turn["messages"]]) == ("completed", ["hi", "fine", "fine"])
    assert [(c["agent_key"], c["model_alias"], c["status"], c["credits_charged"]) for c in bill["calls"]] == [
        ("ann", "first", "error", "0.00000000"),
        ("ann", "second", "success", "0.03000000"),
        ("ben", "first", "error", "0.00000000"),
        ("ben", "second", "success", "0.03000000"),
    ]
    assert (turn["balance_after"], turn["provider_model"]) == ("9.94000000", "second-model")
    said = "first failed (provider_unavailable); second answers for @ann at its own price."
    assert turn["warnings"][0] == {"code": "fallback_used", "detail": said}
    assert [data["detail"] for _, name, data in events if name == "warning"][0] == said
    started = [(d["agent_key"], d["model_alias"]) for _, name, d in events if name == "agent_started"]
    assert started == [("ann", "first"), ("ann", "second"), ("ben", "first"), ("ben", "second")]
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 2


def test_a_chain_of_fallbacks_is_followed_once_round(web, script):
    script.reply = answers_only()
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="first")
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"})
    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
    events = LLMCallEvent.objects.filter(user_id=alice.id).order_by("call_index")
    assert [event.model_alias for event in events] == ["first", "second", "third"]
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 0


def test_text_that_has_been_said_is_never_said_again_by_a_fallback(web, script):
    script.reply = lambda body: Reply(chunks=("half", "never sent"), usage=USAGE, fault="cut", fault_after=1)
    alice = make_person("alice")
    _, turn, bill = run(web, alice, make_session(alice, "ann", model_alias="first"))
    assert (turn["status"], [m["content"] for m in turn["messages"]]) == ("partial", ["hi", "half"])
    assert [(c["model_alias"], c["status"]) for c in bill["calls"]] == [("first", "partial")]


def test_a_fallback_that_reads_too_little_is_not_asked(web, script):
    script.reply = answers_only("small-model")
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="big")
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "long " * 200})
        assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
        assert client.post(f"/sessions/{session}/turns", json={"message": "short"}).status_code == 201


def test_in_hard_mode_a_fallback_that_cannot_be_paid_is_not_called(web, provider, script):
    script.reply = answers_only("second-model")
    # A call of `first` is held for with (0.35 x 22 + 300) x 1 / 10000, of `second` with three times that.
    alice = make_person("alice", credits="0.05")
    session = make_session(alice, "ann", model_alias="first")
    provider.journal.clear()
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi", "max_output_tokens": 300})
        wallet = client.get("/users/me/wallet").json()
        turn = client.get(f"/turns/{answer.json()['turn_id']}").json()
    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
    assert [warning["code"] for warning in turn["warnings"]] == ["insufficient_credits"]
    assert len(provider.journal) == 1
    assert (wallet["balance"], wallet["held"]) == ("0.05000000", "0.00000000")


@pytest.mark.parametrize("broken", range(8))
@pytest.mark.parametrize(
    "fault", [Reply(status=400, error={"message": "no"}), Reply(fault="error_frame", error={"message": "x"})]
)
def test_eight_agents_one_failing_seven_answers_one_error_and_the_bill_is_the_sum(web, script, broken, fault):
    def reply(body):
        key = body["messages"][0]["content"].split("\n")[0].removeprefix("You are ").rstrip(".")
        number = int(key[1:])
        usage = {"prompt_tokens": 100 + number, "completion_tokens": 10 * number}
        return fault if number == broken else Reply(chunks=(f"I am {key}",), usage=usage)

    script.reply = reply
    alice = make_person("alice")
    events, turn, bill = run(web, alice, make_session(alice, *[f"a{n}" for n in range(8)]))
    working = [n for n in range(8) if n != broken]
    assert (turn["status"], turn["error"]["code"]) == ("partial", "provider_error")
    assert [m["content"] for m in turn["messages"][1:]] == [f"I am a{n}" for n in working]
    assert [c["status"] for c in bill["calls"]] == ["error" if n == broken else "success" for n in range(8)]
    # (0.35 x (100 + n) + 10 n) x 2 / 10000 each
    expected = sum((Decimal("0.35") * (100 + n) + 10 * n) * 2 / 10_000 for n in working)
    assert Decimal(bill["credits_charged"]) == expected == 10 - Decimal(turn["balance_after"])
    finished = [Decimal(data["credits_charged"]) for _, name, data in events if name == "agent_finished"]
    assert (len(finished), sum(finished)) == (8, expected)
    assert Decimal(events[-1][2]["credits_charged"]) == expected

"""The OpenAI-compatible door, through OpenAI's own client: base URL and key are all that it is given."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import httpx
import openai
import pytest
from django.db import OperationalError, transaction

from billing.models import CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from config.core.ids import uuid7
from config.core.tests.racing import at_once
from sessions_app.completions import running, views
from sessions_app.completions.asked import CompletionRequest
from sessions_app.completions.opening import OpenedCompletion
from sessions_app.completions.recovery import recover_lost_completions
from sessions_app.models import Completion
from sessions_app.tests.e2e.servers import WebProcess
from sessions_app.tests.makers import make_person
from sessions_app.tests.scripted_provider import Reply
from users import api_keys
from users.models import User

ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "2", "LLM_MAX_RETRIES": "0"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 65,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
# (0.35 x 60 + 0.1 x 40 + 65) x 2 / 10000
PRICE = Decimal("0.018")
HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather", "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}  # fmt: skip
CALLED = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Porto"}'}}


def key_of(person):
    return api_keys.issue(User.objects.get(id=person.id), name="tests").key


def client_of(web, person, **options):
    return openai.OpenAI(base_url=f"{web.url}/v1", api_key=key_of(person), max_retries=0, **options)


@pytest.fixture
def alice():
    return make_person("alice", credits="10")


def assert_billed(person, amount, *, calls=1, status="success", source="provider"):
    (event,) = LLMCallEvent.objects.filter(user_id=person.id).order_by("-id")[:1]
    assert LLMCallEvent.objects.filter(user_id=person.id).count() == calls
    assert (event.purpose, event.status, event.usage_source) == ("direct", status, source)
    assert {event.room_id, event.session_id, event.turn_id, event.step_id, event.agent_id} == {None}
    debits = CreditTransaction.objects.filter(user_id=person.id, kind="debit")
    assert sum(debits.values_list("amount", flat=True)) == -amount
    assert {debit.reference_type for debit in debits} <= {"completion"}
    wallet = CreditWallet.objects.get(user_id=person.id)
    assert (wallet.balance, wallet.held) == (10 - amount, 0)


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_answer_and_its_bill(web, provider, script, alice):
    script.reply = Reply(chunks=("Hello", " there"), usage=USAGE)
    provider.journal.clear()
    answer = client_of(web, alice).chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
        ],
        max_completion_tokens=200,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop=["END"],
        user="somebody",
    )
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Hello there", "stop")
    assert (answer.object, answer.model) == ("chat.completion", "gpt-4o")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (100, 65, 165)
    assert answer.usage.prompt_tokens_details.cached_tokens == 40
    assert answer.usage.completion_tokens_details.reasoning_tokens == 5
    assert answer.model_extra["tallyroom"] == {
        "credits_burned": "0.0180",
        "credits_charged": "0.01800000",
        "balance_after": "9.98200000",
        "low_balance": False,
    }
    (exchange,) = provider.journal
    sent = exchange.body
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"], sent["seed"]) == (200, 0.5, 0.9, 7)
    assert (sent["stop"], "user" in sent) == (["END"], False)
    assert_billed(alice, PRICE)
    assert Completion.objects.get(user_id=alice.id).answer is None


def test_a_stream_ends_after_its_bill(web, script, alice):
    script.reply = Reply(chunks=("H\u2028e", "llo", " €😀"), usage=USAGE, delay_s=0.05)
    with client_of(web, alice).chat.completions.create(
        model="gpt-4o", messages=HI, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "H\u2028ello €😀"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 165)
    assert chunks[-1].model_extra["tallyroom"]["balance_after"] == "9.98200000"
    assert len({chunk.id for chunk in chunks}) == 1
    assert_billed(alice, PRICE)


def test_a_stream_as_it_comes_over_the_wire(web, script, alice):
    script.reply = Reply(chunks=("Hi",), usage=USAGE)
    with web.client(key_of(alice)) as client:
        answer = client.post(f"{web.url}/v1/chat/completions", json={"model": "gpt-4o", "messages": HI, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hi"}, {}]


def test_a_schema_reaches_the_provider(web, provider, script, alice):
    script.reply = Reply(chunks=('{"n": 1}',), usage=USAGE)
    provider.journal.clear()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    client = client_of(web, alice)
    format_ = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    client.chat.completions.create(model="gpt-4o", messages=HI, response_format=format_)
    client.chat.completions.create(model="gpt-4o", messages=HI, response_format={"type": "json_object"})
    first, second = (exchange.body["response_format"] for exchange in provider.journal)
    assert (first["type"], first["json_schema"]["schema"], second) == ("json_schema", schema, {"type": "json_object"})


def test_models_are_those_that_can_be_called(web, alice):
    client = client_of(web, alice)
    assert {"gpt-4o", "deepseek"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("gpt-4o").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


@pytest.mark.parametrize(
    ("status", "raised", "code"),
    [
        (500, openai.InternalServerError, "provider_error"),
        (429, openai.InternalServerError, "provider_unavailable"),
        (400, openai.InternalServerError, "provider_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_refuses_is_an_error_and_no_bill(web, script, alice, status, raised, code, stream):
    script.reply = Reply(status=status, error={"message": "no"})
    with pytest.raises(raised) as error:
        client_of(web, alice).chat.completions.create(model="gpt-4o", messages=HI, stream=stream)
    assert error.value.code == code
    assert error.value.status_code in {502, 503}
    (event,) = LLMCallEvent.objects.filter(user_id=alice.id)
    assert event.credits_burned == 0
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 0
    assert CreditWallet.objects.get(user_id=alice.id).held == 0


def test_an_answer_that_breaks_off_says_so_and_is_billed_for_what_came(web, script, alice):
    script.reply = Reply(chunks=("Twelve chars", "never"), fault="cut", fault_after=1)
    client = client_of(web, alice)
    stream = client.chat.completions.create(model="gpt-4o", messages=HI, stream=True)
    said = []
    with pytest.raises(openai.APIError) as error:
        said.extend(chunk.choices[0].delta.content for chunk in stream)
    assert "".join(filter(None, said)) == "Twelve chars"
    assert error.value.code == "provider_error"
    # (0.35 x 5 + 3) x 2 / 10000, estimated: 2 bytes of input are one token and four of frame.
    assert_billed(alice, Decimal("0.00095"), status="partial", source="estimated")
    answer = client.chat.completions.create(model="gpt-4o", messages=HI)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Twelve chars", "error")


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_ends_the_call_and_bills_what_came(web, provider, script, alice, stream):
    script.reply = Reply(chunks=("Twelve chars", "never"), fault="stall", fault_after=1)
    key = key_of(alice)
    body = {"model": "gpt-4o", "messages": HI, "stream": stream}
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=1) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post(f"{web.url}/v1/chat/completions", json=body)
    wait_for(lambda: Completion.objects.filter(user_id=alice.id, status="cancelled").count() == 1)
    assert provider.wait_for(lambda: provider.open_connections == 0)
    assert_billed(alice, Decimal("0.00095"), status="cancelled", source="estimated")


def test_an_empty_wallet_is_refused_before_anybody_is_asked(web, provider, script):
    bob = make_person("bob", credits="0.001")
    provider.journal.clear()
    with pytest.raises(openai.APIStatusError) as error:
        client_of(web, bob).chat.completions.create(model="gpt-4o", messages=HI, max_tokens=1000)
    assert (error.value.status_code, error.value.code, error.value.type) == (
        402, "insufficient_credits", "insufficient_quota",
    )  # fmt: skip
    problem = error.value.response.json()
    assert (problem["balance"], problem["available"]) == ("0.00100000", "0.00100000")
    assert len(provider.journal) == Completion.objects.filter(user_id=bob.id).count() == 0
    assert CreditHold.objects.filter(user_id=bob.id).count() == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "nothing"}, "unknown_model_alias"),
        ({"messages": []}, "validation_error"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "validation_error"),
        ({"messages": [{"role": "user", "content": "x", "tool_call_id": "a"}]}, "validation_error"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALLED]}]}, "validation_error"),
        ({"messages": [{"role": "assistant", "tool_calls": [{**CALLED, "id": ""}]}]}, "validation_error"),
        ({"messages": [{"role": "assistant", "tool_calls": []}]}, "validation_error"),
        ({"messages": [{"role": "user", "content": None}]}, "validation_error"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "validation_error"),
        ({"messages": [{"role": "user", "content": "x" * 900_000}]}, "context_budget_exceeded"),
        ({"max_tokens": 0}, "validation_error"),
        ({"max_tokens": 10_000_000}, "validation_error"),
        ({"temperature": 3}, "validation_error"),
        ({"n": 2}, "validation_error"),
        ({"tools": {}}, "validation_error"),
        ({"tools": [WEATHER] * 129}, "validation_error"),
        ({"tools": [WEATHER, WEATHER]}, "validation_error"),
        ({"tools": [{"type": "retrieval"}]}, "validation_error"),
        ({"tools": [{"type": "function", "function": {"name": "rm -rf"}}]}, "validation_error"),
        ({"tools": [WEATHER], "tool_choice": "maybe"}, "validation_error"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "tides"}}}, "validation_error"),
        ({"tool_choice": "required"}, "validation_error"),
        ({"functions": [WEATHER["function"]]}, "validation_error"),
        ({"stop": 7}, "validation_error"),
        ({"response_format": {"type": "json_schema"}}, "validation_error"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(web, provider, alice, change, code):
    provider.journal.clear()
    with web.client(key_of(alice)) as client:
        answer = client.post(f"{web.url}/v1/chat/completions", json={"model": "gpt-4o", "messages": HI, **change})
    assert (answer.status_code, answer.json()["code"], answer.json()["error"]["code"]) == (422, code, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(provider.journal) == Completion.objects.filter(user_id=alice.id).count() == 0


def test_without_a_key_nobody_is_let_in(web, alice):
    with pytest.raises(openai.AuthenticationError) as error:
        openai.OpenAI(base_url=f"{web.url}/v1", api_key="tally_wrong", max_retries=0).models.list()
    assert error.value.code == "token_invalid"


def keyed(client, key, **more):
    return client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=HI, extra_headers={"Idempotency-Key": key}, **more
    )


def test_a_key_gives_the_first_answer_again(web, provider, script, alice):
    script.reply = Reply(chunks=("Once",), usage=USAGE)
    provider.journal.clear()
    client, key = client_of(web, alice), str(uuid7())
    first = keyed(client, key)
    again = keyed(client, key)
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert again.parse().to_dict() == first.parse().to_dict()
    with pytest.raises(openai.UnprocessableEntityError) as error:
        keyed(client, key, max_tokens=5)
    assert error.value.code == "idempotency_key_reused"
    bob = make_person("bob", credits="10")
    assert keyed(client_of(web, bob), key).headers.get("idempotency-replayed") is None
    assert len(provider.journal) == 2
    assert_billed(alice, PRICE)


def test_ten_at_once_with_one_key_are_one_call(web, provider, script, alice):
    script.reply = Reply(chunks=("Once",), usage=USAGE, first_delay_s=0.5)
    provider.journal.clear()
    headers = {"Authorization": f"Bearer {key_of(alice)}", "Idempotency-Key": str(uuid7())}
    body = {"model": "gpt-4o", "messages": HI}
    post = partial(httpx.post, f"{web.url}/v1/chat/completions", headers=headers, json=body, timeout=20)
    answers = at_once(*[post] * 10)
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"idempotency_in_progress"}
    assert len(provider.journal) == Completion.objects.filter(user_id=alice.id).count() == 1
    assert_billed(alice, PRICE)


def test_money_for_one_call_and_ten_at_once(web, provider, script):
    bob = make_person("bob", credits="0.21")
    script.reply = Reply(chunks=("x",), usage={"prompt_tokens": 13, "completion_tokens": 1_000}, first_delay_s=1)
    headers = {"Authorization": f"Bearer {key_of(bob)}"}
    body = {"model": "gpt-4o", "messages": HI, "max_tokens": 1_000}
    post = partial(httpx.post, f"{web.url}/v1/chat/completions", headers=headers, json=body, timeout=20)
    answers = at_once(*[post] * 10)
    assert sorted(answer.status_code for answer in answers) == [200] + [402] * 9
    wallet = CreditWallet.objects.get(user_id=bob.id)
    # (0.35 x 13 + 1000) x 2 / 10000
    assert (wallet.balance, wallet.held) == (Decimal("0.00909000"), 0)
    assert CreditTransaction.objects.filter(user_id=bob.id, kind="debit").count() == 1


def test_a_streamed_answer_is_streamed_again(web, script, alice):
    script.reply = Reply(chunks=("On", "ce"), usage=USAGE)
    client, key = client_of(web, alice), str(uuid7())
    for _ in range(2):
        chunks = list(keyed(client, key, stream=True).parse())
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Once"
        assert chunks[-1].model_extra["tallyroom"]["balance_after"] == "9.98200000"
    assert_billed(alice, PRICE)


def test_with_a_key_a_call_goes_on_after_its_client_and_is_there_for_the_retry(web, script, alice):
    script.reply = Reply(chunks=("Wor", "th it"), usage=USAGE, delay_s=1.5)
    key = str(uuid7())
    with pytest.raises(openai.APITimeoutError):
        keyed(client_of(web, alice, timeout=0.5), key)
    client = client_of(web, alice)
    with pytest.raises(openai.ConflictError) as error:
        keyed(client, key)
    assert error.value.code == "idempotency_in_progress"
    wait_for(lambda: Completion.objects.filter(user_id=alice.id, status="completed").count() == 1)
    assert keyed(client, key).parse().choices[0].message.content == "Worth it"
    assert_billed(alice, PRICE)


def test_a_call_whose_process_died_is_recorded_and_costs_nothing(provider, script, alice, settings):
    script.reply = Reply(fault="hang")
    key = key_of(alice)
    victim = WebProcess(name="victim", LLM_BASE_URL=provider.base_url, LLM_API_KEY="k", TURN_LEASE_S="1").start().wait()
    with pytest.raises(httpx.ReadTimeout), victim.client(key) as client:
        headers = {"Idempotency-Key": "x"}
        client.post(
            f"{victim.url}/v1/chat/completions", json={"model": "gpt-4o", "messages": HI}, headers=headers, timeout=1
        )
    victim.kill()
    assert CreditWallet.objects.get(user_id=alice.id).held > 0
    # Lost after these, and not after the longer ones of this process.
    settings.TURN_LEASE_S = 1
    wait_for(lambda: recover_lost_completions() == 1)
    assert Completion.objects.get(user_id=alice.id).status == "interrupted"
    event = LLMCallEvent.objects.get(user_id=alice.id)
    assert (event.purpose, event.status, event.usage_flags) == ("direct", "error", ["process_died"])
    wallet = CreditWallet.objects.get(user_id=alice.id)
    assert (wallet.balance, wallet.held) == (10, 0)


def test_a_process_that_is_told_to_stop_lets_its_calls_end(web, provider, script, alice):
    script.reply = Reply(chunks=("a", "b", "c"), usage=USAGE, delay_s=0.5)
    leaving = WebProcess(name="leaving", LLM_BASE_URL=provider.base_url, LLM_API_KEY="k").start().wait()
    with client_of(leaving, alice).chat.completions.create(model="gpt-4o", messages=HI, stream=True) as stream:
        chunks = iter(stream)
        next(chunks)
        leaving.process.terminate()
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "abc"
    leaving.stop()
    assert_billed(alice, PRICE)


def nested(depth):
    schema = '{"a":' * depth + "1" + "}" * depth
    return '"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":' + schema + "}}"


@pytest.mark.parametrize(
    ("member", "statuses"),
    [('"stop":["\\ud800"]', {200}), (nested(150), {200}), *((nested(deep), {400, 422}) for deep in range(940, 990, 6))],
    ids=lambda value: f"{value[:8]} of {len(value)}" if isinstance(value, str) else "",
)
def test_what_is_hard_to_write_as_json_leaves_no_hold_open(web, alice, member, statuses):
    body = '{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],' + member + "}"
    with web.client(key_of(alice)) as client:
        headers = {"Content-Type": "application/json"}
        answer = client.post(f"{web.url}/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code in statuses
    assert CreditWallet.objects.get(user_id=alice.id).held == 0
    assert Completion.objects.filter(user_id=alice.id, status="running").count() == 0


def test_what_the_gateway_has_reported_is_settled_though_it_broke(monkeypatch):
    async def complete(_request, *, on_delta, report):
        report("reported")
        raise RuntimeError("a bug")

    async def settled(_run, result):
        return result

    monkeypatch.setattr(running.gateway, "complete", complete)
    monkeypatch.setattr(running.CompletionRun, "_settled", settled)
    price = SimpleNamespace(provider="p", provider_model="m")
    request = CompletionRequest(uuid7(), "m", (), None, 1.0)
    opened = OpenedCompletion(uuid7(), uuid7(), request, None, price, 1, datetime.now(UTC))

    async def go():
        return await running.CompletionRun(opened).outcome()

    assert asyncio.run(go()) == "reported"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_a_stopping_process_cut_off_does_not_pass_for_a_whole_one(web, provider, script, alice, stream):
    script.reply = Reply(chunks=("Twelve chars", "never"), fault="stall", fault_after=1)
    leaving = WebProcess(name="cutting", LLM_BASE_URL=provider.base_url, LLM_API_KEY="k", DRAIN_TIMEOUT_S="0").start()
    key = str(uuid7())
    headers = {"Authorization": f"Bearer {key_of(alice)}", "Idempotency-Key": key}
    body = {"model": "gpt-4o", "messages": HI, "stream": stream}
    provider.journal.clear()
    post = partial(httpx.post, f"{leaving.wait().url}/v1/chat/completions", headers=headers, json=body, timeout=20)

    def stop():
        wait_for(lambda: provider.journal and provider.journal[0].sent_text)
        time.sleep(0.3)
        leaving.process.terminate()

    first, _ = at_once(post, stop)
    leaving.stop()
    again = httpx.post(f"{web.url}/v1/chat/completions", headers=headers, json=body, timeout=20)
    for answer in (first, again):
        if stream:
            assert '"error":{' in answer.text
            assert "[DONE]" not in answer.text
        else:
            assert answer.json()["choices"][0]["finish_reason"] == "error"
    assert Completion.objects.get(user_id=alice.id).status == "cancelled"
    assert_billed(alice, Decimal("0.00095"), status="cancelled", source="estimated")


def test_a_call_that_begins_while_its_process_stops_is_waited_for(provider, script, alice):
    script.reply = Reply(chunks=("Worth", " it"), usage=USAGE, first_delay_s=2)
    leaving = WebProcess(name="opening", LLM_BASE_URL=provider.base_url, LLM_API_KEY="k").start().wait()
    headers = {"Authorization": f"Bearer {key_of(alice)}", "Idempotency-Key": str(uuid7())}
    with transaction.atomic():
        CreditWallet.objects.select_for_update().get(user_id=alice.id)
        with pytest.raises(httpx.ReadTimeout):
            body = {"model": "gpt-4o", "messages": HI}
            httpx.post(f"{leaving.url}/v1/chat/completions", headers=headers, json=body, timeout=0.5)
        leaving.process.terminate()
        time.sleep(0.5)
    leaving.stop()
    assert Completion.objects.get(user_id=alice.id).status == "completed"
    assert_billed(alice, PRICE)


def test_a_replay_has_the_time_of_the_first_answer(web, script, alice):
    script.reply = Reply(chunks=("Once",), usage=USAGE)
    headers = {"Authorization": f"Bearer {key_of(alice)}", "Idempotency-Key": str(uuid7())}
    body = {"model": "gpt-4o", "messages": HI}
    post = partial(httpx.post, f"{web.url}/v1/chat/completions", headers=headers, json=body, timeout=20)

    def keep_waiting():
        with transaction.atomic():
            CreditWallet.objects.select_for_update().get(user_id=alice.id)
            time.sleep(1.5)

    def post_late():
        time.sleep(0.3)
        return post()

    _, first = at_once(keep_waiting, post_late)
    assert post().json() == first.json()


def test_leases_are_renewed_as_soon_as_the_database_is_back(monkeypatch, settings):
    settings.TURN_LEASE_S = 30
    tries = []

    def renew(mine):
        tries.append(mine)
        if len(tries) == 1:
            raise OperationalError("away")

    monkeypatch.setattr(running, "_renew", renew)

    async def beat():
        held = running.Completions()
        held.runs[uuid7()] = SimpleNamespace(opened=SimpleNamespace(claim=uuid7()))
        with suppress(TimeoutError):
            await asyncio.wait_for(held._beat(), timeout=1.5)

    asyncio.run(beat())
    assert len(tries) == 2


class Begun(running.CompletionRun):
    """A call that has just begun and is never made."""

    def __init__(self):
        self.is_left = False

    def leave(self):
        self.is_left = True


def test_a_client_that_goes_in_the_moment_its_call_begins_ends_it(monkeypatch):
    begun = Begun()

    async def admitted(_request, _unit):
        return None

    async def go():
        def start(_opened):
            asyncio.get_running_loop().call_soon(asking.cancel)
            return begun

        view = views.ChatCompletionsView()
        monkeypatch.setattr(view, "admitted", admitted)
        monkeypatch.setattr(running.completions(), "start", start)
        asking = asyncio.create_task(view._start(None))
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0)

    asyncio.run(go())
    assert begun.is_left

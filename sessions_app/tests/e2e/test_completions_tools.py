"""Functions of a client of OpenAI's API: passed on, called by the model, run by the client, billed as tokens."""

from __future__ import annotations

import json
from decimal import Decimal

import openai
import pytest

from billing.models import CreditHold, CreditTransaction, LLMCallEvent, ToolCallEvent
from pricing.services import put_model
from pricing.tests.makers import SEED
from sessions_app.models import Completion
from sessions_app.tests.e2e.servers import web_processes
from sessions_app.tests.e2e.test_completions import CALLED, HI, USAGE, WEATHER, client_of
from sessions_app.tests.makers import make_person
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
PRICE = Decimal("0.018")
DESCRIPTION = WEATHER["function"]["description"]


def called(*pieces, **more):
    return Reply(
        chunks=tuple({"tool_calls": [piece]} for piece in pieces), finish_reason="tool_calls", usage=USAGE, **more
    )


IN_PIECES = called(
    {"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"place":'}},
    {"index": 0, "function": {"arguments": ' "Porto"}'}},
)


@pytest.fixture(scope="module")
def web(committed, provider):
    words = json.dumps({"words": {"base_url": provider.base_url, "tool_mode": "json_schema"}})
    with web_processes(1, LLM_BASE_URL=provider.base_url, LLM_PROVIDERS=words, LLM_MAX_RETRIES="0") as (process,):
        yield process


@pytest.fixture(autouse=True)
def _fresh(provider):
    provider.journal.clear()


@pytest.fixture
def alice():
    return make_person("alice", credits="10")


def debits(person):
    return list(CreditTransaction.objects.filter(user_id=person.id, kind="debit").values_list("amount", flat=True))


def test_a_client_offers_a_function_runs_it_and_gets_its_answer(web, provider, script, alice):
    replies = [IN_PIECES, Reply(chunks=("Sunny in Porto.",), usage=USAGE)]
    script.reply = lambda _body: replies.pop(0)
    client = client_of(web, alice)
    asked = {"model": "gpt-4o", "tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    first = client.chat.completions.create(messages=HI, **asked)
    (choice,) = first.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert [call.model_dump() for call in choice.message.tool_calls] == [CALLED]
    # As OpenAI's client gave it, with all that it had and had not.
    messages = [*HI, choice.message, {"role": "tool", "tool_call_id": "call_a", "content": "21 degrees, sun"}]
    second = client.chat.completions.create(messages=messages, **{**asked, "tool_choice": "auto"})
    assert (second.choices[0].finish_reason, second.choices[0].message.content) == ("stop", "Sunny in Porto.")
    sent = [exchange.body for exchange in provider.journal]
    assert [body["tools"] for body in sent] == [[WEATHER]] * 2
    assert [(body["tool_choice"], body["parallel_tool_calls"]) for body in sent] == [
        ("required", False),
        ("auto", False),
    ]
    assert sent[1]["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "content": "21 degrees, sun", "tool_call_id": "call_a"},
    ]
    assert debits(alice) == [-PRICE, -PRICE]
    assert ToolCallEvent.objects.filter(user_id=alice.id).count() == 0


def test_one_function_can_be_asked_for_by_its_name(web, provider, script, alice):
    script.reply = IN_PIECES
    named = {"type": "function", "function": {"name": "weather"}}
    strict = {"type": "function", "function": {"name": "weather", "strict": True}}
    client_of(web, alice).chat.completions.create(model="gpt-4o", messages=HI, tools=[strict], tool_choice=named)
    (exchange,) = provider.journal
    assert exchange.body["tool_choice"] == named
    assert exchange.body["tools"][0]["function"] == {
        "name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}, "strict": True,
    }  # fmt: skip


def test_in_a_stream_calls_come_whole_before_the_end(web, script, alice):
    script.reply = IN_PIECES
    stream = client_of(web, alice).chat.completions.create(model="gpt-4o", messages=HI, tools=[WEATHER], stream=True)
    opening, calls, last = list(stream)
    assert opening.choices[0].delta.role == "assistant"
    assert [call.model_dump() for call in calls.choices[0].delta.tool_calls] == [{"index": 0, **CALLED}]
    assert (last.choices[0].finish_reason, last.model_extra["tallyroom"]["credits_charged"]) == (
        "tool_calls", "0.01800000",
    )  # fmt: skip
    assert debits(alice) == [-PRICE]


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_gives_the_same_calls_again(web, provider, script, alice, stream):
    script.reply = IN_PIECES

    def ask():
        with client_of(web, alice).chat.completions.with_streaming_response.create(
            model="gpt-4o", messages=HI, tools=[WEATHER], stream=stream, extra_headers={"Idempotency-Key": "one"}
        ) as answer:
            return answer.read()

    assert ask() == ask()
    assert len(provider.journal) == 1
    assert debits(alice) == [-PRICE]


def test_a_call_that_broke_off_is_not_handed_out_and_what_came_is_billed(web, script, alice):
    half = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"place": "P'}}
    script.reply = Reply(chunks=({"tool_calls": [half]},), usage=None, fault="cut", fault_after=1)
    answer = client_of(web, alice).chat.completions.create(model="gpt-4o", messages=HI, tools=[WEATHER])
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.tool_calls, choice.message.content) == ("error", None, "")
    (event,) = LLMCallEvent.objects.filter(user_id=alice.id)
    # ⌈19 bytes of name and arguments / 4⌉ tokens of output.
    assert (event.status, event.usage_source, event.output_tokens) == ("partial", "estimated", 5)
    assert debits(alice) == [-event.credits_charged]


def test_a_provider_without_functions_is_refused_before_anything_is_held(web, provider, alice):
    fields = {"multiplier": Decimal(1), "provider": "words", "provider_model": "w", "context_tokens": 16_000}
    put_model(pricing_version=SEED, model_alias="wordy", fields=fields, actor="test")
    with pytest.raises(openai.UnprocessableEntityError) as error:
        client_of(web, alice).chat.completions.create(model="wordy", messages=HI, tools=[WEATHER])
    (problem,) = error.value.response.json()["errors"]
    assert (problem["field"], problem["code"]) == ("tools", "not_supported")
    assert len(provider.journal) == Completion.objects.filter(user_id=alice.id).count() == 0
    assert CreditHold.objects.filter(user_id=alice.id).count() == 0


def test_what_tools_weigh_is_held_for(web, script, alice):
    heavier = {**WEATHER, "function": {**WEATHER["function"], "description": "x" * (len(DESCRIPTION) + 3_000)}}
    script.reply = Reply(usage=USAGE)
    for tool in (WEATHER, heavier):
        client_of(web, alice).chat.completions.create(model="gpt-4o", messages=HI, tools=[tool], max_tokens=10)
    light, heavy = CreditHold.objects.filter(user_id=alice.id).order_by("created_at").values_list("amount", flat=True)
    # A thousand tokens more at the bound of three bytes each: 1 000 x 0.35 x 2 / 10 000.
    assert heavy - light == Decimal("0.07")

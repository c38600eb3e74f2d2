"""Calls of tools as providers send them, in pieces or whole, and what of them is counted."""

from __future__ import annotations

import json

import pytest

from sessions_app.llm.estimate import estimate_input, estimate_output, input_bound
from sessions_app.llm.types import Message, ToolCall, ToolSpec
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.unit.llm_calls import CANARY_KEY, ask, ask_at, make_request

LOOK = ToolSpec("look", "Look it up.", {"type": "object", "properties": {"q": {"type": "string"}}})


def piece(index=0, id_=None, name=None, arguments=None, **more):
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    given = {"index": index, "id": id_, "function": function, **more}
    return {"tool_calls": [{key: value for key, value in given.items() if value is not None}]}


def asked(*chunks, **reply):
    return ask(Reply(chunks=chunks, finish_reason="tool_calls", **reply), request=make_request(tools=(LOOK,)))


def sent(**request):
    with ScriptedProvider() as provider:
        ask_at(provider.base_url, request=make_request(**request))
        return provider.journal[-1].body


def test_pieces_become_one_call():
    result = asked(
        piece(id_="a", name="look", arguments=""), piece(arguments='{"q": '), piece(arguments='"Rome"}'),
    )  # fmt: skip
    assert (result.status, result.text, result.finish_reason) == ("success", "", "tool_calls")
    assert result.tool_calls == (ToolCall("a", "look", '{"q": "Rome"}'),)


@pytest.mark.parametrize(
    "chunks",
    [
        (piece(0, "a", "look", '{"q":1}'), piece(1, "b", "look", '{"q":2}')),
        # Woven into each other.
        (
            piece(0, "a", "look", '{"q"'), piece(1, "b", "look", '{"q":2'), piece(0, arguments=":1}"),
            piece(1, arguments="}"),
        ),
        # All of them number 0, as a gateway in front of Gemini has it.
        (piece(0, "a", "look", '{"q":1}'), piece(0, "b", "look", '{"q":2}')),
        # Not numbered at all.
        (piece(None, "a", "look", '{"q":1}'), piece(None, "b", "look", '{"q"'), piece(None, arguments=":2}")),
        # Arguments that the server has parsed already.
        (piece(0, "a", "look", {"q": 1}), piece(1, "b", "look", {"q": 2})),
    ],
)  # fmt: skip
def test_two_calls_are_two_calls_however_they_are_numbered(chunks):
    result = asked(*chunks)
    assert [(one.id, one.name, json.loads(one.arguments)) for one in result.tool_calls] == [
        ("a", "look", {"q": 1}), ("b", "look", {"q": 2}),
    ]  # fmt: skip


def test_calls_without_ids_or_with_the_same_one_get_their_own():
    nameless = asked(piece(0, None, "look", "{}"), piece(1, None, "look", "{}"))
    assert [one.id for one in nameless.tool_calls] == ["call_0", "call_1"]
    same = asked(piece(0, "x", "look", "{}"), piece(1, "x", "look", "{}"))
    assert [one.id for one in same.tool_calls] == ["x", "call_1"]


def test_a_whole_body_carries_calls_too():
    body = {
        "choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        ]}, "finish_reason": "tool_calls"}],
    }  # fmt: skip
    result = ask(Reply(raw=json.dumps(body).encode(), as_json=True), request=make_request(tools=(LOOK,)))
    assert [one.id for one in result.tool_calls] == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    ["x", 7, {"a": 1}, [7], [None], [{"function": "x"}], [{"index": "0", "function": {"name": 7, "arguments": 7}}]],
)
def test_what_has_another_shape_is_no_error(value):
    result = asked({"content": "Hi", "tool_calls": value})
    assert (result.status, result.text) == ("success", "Hi")
    assert all((one.name, one.arguments) == ("", "") for one in result.tool_calls)


def test_our_key_nul_and_broken_letters_do_not_leave_in_a_call():
    [one] = asked(piece(0, "a", "look", f'{{"q": "{CANARY_KEY} \x00 \ud800"}}')).tool_calls
    assert one.arguments == '{"q": "[redacted]  �"}'


def test_a_call_that_is_cut_off_is_partial_and_its_tokens_are_estimated():
    result = asked(piece(0, "a", "look", "x" * 400), fault="cut", fault_after=1, usage=None)
    assert (result.status, result.usage_source) == ("partial", "estimated")
    assert result.pools.output == estimate_output("look" + "x" * 400) == 101


def test_endless_arguments_end_the_call():
    result = asked(*[piece(0, "a", "look", "x" * 2_000)] * 20)
    assert (result.status, result.failure.code) == ("partial", "provider_error")


def test_tools_and_calls_are_sent_as_the_protocol_wants_them_and_counted_as_they_are_sent():
    messages = (
        Message("user", "Go"),
        Message("assistant", "", tool_calls=(ToolCall("a", "look", '{"q": "é"}'),)),
        Message("tool", "Found", tool_call_id="a"),
    )
    body = sent(messages=messages, tools=(LOOK,), tool_choice="none")
    assert body["messages"] == [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"q": "é"}'}}]},
        {"role": "tool", "content": "Found", "tool_call_id": "a"},
    ]  # fmt: skip
    assert body["tool_choice"] == "none"
    told = {"name": "look", "description": "Look it up.", "parameters": dict(LOOK.parameters)}
    assert body["tools"] == [{"type": "function", "function": told}]
    size = len(json.dumps(body["tools"], ensure_ascii=False).encode())
    size += len(json.dumps(body["messages"][1]["tool_calls"], ensure_ascii=False).encode()) + len("Go") + len("Found")
    assert input_bound(messages, tools=(LOOK,)) == -(-size // 3) + 8 * 3
    assert estimate_input(messages, tools=(LOOK,)) == -(-size // 4) + 4 * 3


def test_without_tools_nothing_of_them_is_sent():
    body = sent()
    assert not {"tools", "tool_choice"} & set(body)

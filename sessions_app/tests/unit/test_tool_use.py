"""One agent's calls of tools: each gets exactly one result, within its limits, whatever happens to it."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import pytest
from django.db import OperationalError

from config.core.ids import uuid7
from sessions_app.llm.types import ToolCall
from sessions_app.tools import limits
from sessions_app.tools.base import Arguments, Scope, Tool
from sessions_app.tools.cutting import beginning, cut, size_of
from sessions_app.tools.permits import Permit
from sessions_app.tools.registry import TOOLS, offered
from sessions_app.tools.talk import ToolStep, choice_schema, chosen, in_words, natively
from sessions_app.tools.using import Outcome, Room, ToolUse, checked


class Numbered(Arguments):
    n: int


class Fake(Tool):
    """Does what a test says, and remembers how many of it ran at once."""

    name: ClassVar[str] = "fake"
    description: ClassVar[str] = "A tool for tests."
    arguments: ClassVar[type[Arguments]] = Numbered

    def __init__(self) -> None:
        self.behave = None
        self.ran: list[int] = []
        self.now = self.most = 0

    async def run(self, arguments: Numbered, scope: Scope) -> str:
        self.ran.append(arguments.n)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self.behave(arguments.n) if self.behave else f"result {arguments.n}"
        finally:
            self.now -= 1


@pytest.fixture
def fake(monkeypatch):
    tool = Fake()
    monkeypatch.setitem(TOOLS, "fake", tool)
    return tool


def calls(*numbers):
    return [ToolCall(f"c{place}", "fake", json.dumps({"n": n})) for place, n in enumerate(numbers)]


def named(call):
    return json.loads(call.arguments)["n"]


class Told:
    def __init__(self) -> None:
        self.started: list[ToolCall] = []
        self.ended: list[Outcome] = []


async def permitted():
    return Permit(frozenset({"fake"}), None)


def make_use(told=None, *, permit=permitted, room=None):
    told = told or Told()
    scope = Scope(uuid7(), uuid7(), uuid7(), None, 0)
    return ToolUse(
        scope=scope, offered=["fake"], permit=permit, room=room or Room(), told=told.started.append,
        ended=told.ended.append,
    )  # fmt: skip


def statuses(use):
    return [(outcome.status, outcome.code) for outcome in use.last]


def answer(use, asked, room_bytes=100_000):
    asyncio.run(use.answer(asked, room_bytes=room_bytes))


def test_results_come_in_the_order_of_the_calls_and_four_run_at_once(fake):
    async def later_ones_sooner(n):
        await asyncio.sleep(0.02 * (8 - n))
        return f"result {n}"

    fake.behave = later_ones_sooner
    told = Told()
    use = make_use(told)
    asked = calls(*range(8))
    answer(use, asked)
    assert [(outcome.call, outcome.content) for outcome in use.last] == [
        (c, f"result {n}") for n, c in enumerate(asked)
    ]
    assert (fake.most, told.started, told.ended) == (limits.PARALLEL, asked, use.last)
    assert use.is_over


def test_what_may_run_is_told_beforehand_and_counts_nothing(fake):
    async def slow(n):
        await asyncio.sleep(0.01)
        return f"result {n}"

    fake.behave = slow
    use = make_use()
    stranger = ToolCall("s", "stranger", "{}")
    asked = [*calls(1, 2, 1, 1), stranger]
    assert [named(call) for call in use.to_run(asked)] == [1, 2, 1]
    assert use.to_run(asked) == use.to_run(asked)
    answer(use, asked)
    assert statuses(use) == [
        ("success", ""), ("success", ""), ("success", ""), ("refused", "repeated_call"), ("error", "unknown_tool"),
    ]  # fmt: skip
    # What is known by now is not run again, and the eighth call is the last.
    assert [named(call) for call in use.to_run(calls(2, 3, 4, 5, 6, 7))] == [3, 4, 5]
    answer(use, calls(2, 3, 4, 5, 6, 7))
    assert [status for status, _ in statuses(use)] == ["cached", *["success"] * 3, "refused", "refused"]
    assert use.to_run(calls(9)) == []
    assert fake.ran[3:] == [3, 4, 5]


def test_what_cannot_be_paid_is_told_and_refused_and_nothing_of_it_runs(fake):
    told = Told()
    use = make_use(told)
    use.refuse(calls(1, 2), code="insufficient_credits")
    assert statuses(use) == [("refused", "insufficient_credits")] * 2
    assert (fake.ran, told.started, told.ended) == ([], calls(1, 2), use.last)


def test_cancelled_in_the_middle_every_call_has_a_result(fake):
    async def stuck_at_one(n):
        if n == 1:
            await asyncio.sleep(60)
        return "done"

    fake.behave = stuck_at_one
    told = Told()
    use = make_use(told)

    async def cancelled():
        task = asyncio.create_task(use.answer(calls(0, 1, 2), room_bytes=10_000))
        while len(fake.ran) < 3:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert statuses(use) == [("success", ""), ("cancelled", "cancelled"), ("success", "")]
    assert told.ended == use.last


def test_cancelled_while_permission_is_asked_nothing_ran_and_every_call_has_a_result(fake):
    async def never():
        await asyncio.sleep(60)

    use = make_use(permit=never)

    async def cancelled():
        task = asyncio.create_task(use.answer(calls(0, 1), room_bytes=10_000))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert (statuses(use), fake.ran) == ([("cancelled", "cancelled")] * 2, [])


def test_the_time_of_all_calls_together_is_limited(fake, monkeypatch):
    async def slow(_n):
        await asyncio.sleep(60)

    fake.behave = slow
    monkeypatch.setattr(limits, "SECONDS", 0.05)
    use = make_use()
    answer(use, calls(1, 2))
    assert (statuses(use), use.is_over) == ([("timeout", "timeout")] * 2, True)


def test_a_tool_that_breaks_is_told_to_the_model_and_nothing_else_of_it(fake):
    async def broken(n):
        raise {1: KeyError("secret"), 2: OperationalError("secret")}[n]

    fake.behave = broken
    use = make_use()
    answer(use, calls(1, 2))
    assert statuses(use) == [("error", "internal_error"), ("error", "unavailable")]
    assert {outcome.content for outcome in use.last} == {"The tool cannot be used right now."}


def test_while_the_database_is_away_nothing_is_permitted(fake):
    async def away():
        raise OperationalError

    use = make_use(permit=away)
    answer(use, calls(1))
    assert (statuses(use), fake.ran) == ([("refused", "not_permitted")], [])


def test_results_are_cut_to_what_is_left_for_them_on_the_border_of_a_character(fake):
    async def long(_n):
        return "é🙂" * 20_000

    fake.behave = long
    room = Room()
    use = make_use(room=room)
    answer(use, calls(1, 2))
    for outcome in use.last:
        assert size_of(outcome.content) <= limits.RESULT_BYTES
        assert outcome.content.rpartition("\n")[2].startswith("[… cut, ")
        assert "�" not in outcome.content
    answer(use, calls(3), room_bytes=2_000)
    assert size_of(use.last[0].content) <= 2_000
    answer(use, calls(4, 5))
    assert 0 <= room.left_bytes < limits.LEAST_RESULT_BYTES + 1_000
    answer(use, calls(6))
    assert room.left_bytes >= -limits.LEAST_RESULT_BYTES
    assert use.is_over


def test_without_room_in_the_context_nothing_runs(fake):
    use = make_use()
    answer(use, calls(1), room_bytes=100)
    assert (statuses(use), fake.ran, use.is_over) == ([("refused", "no_room")], [], True)


@pytest.mark.parametrize(
    "arguments", ['{"n": 1.5}', '{"n": "1"}', '{"n": 1, "m": 2}', "{}", '{"n": 1e400}', '{"n": true}']
)
def test_arguments_are_not_bent_into_shape(fake, arguments):
    use = make_use()
    answer(use, [ToolCall("a", "fake", arguments)])
    assert (statuses(use), fake.ran) == ([("error", "invalid_arguments")], [])


def test_the_hash_of_arguments_does_not_depend_on_how_they_were_written():
    one, other = (
        Outcome(ToolCall("x", "fake", text), "success", "")
        for text in ('{"a":1,"b":"é"}', '{ "b": "\\u00e9", "a": 1 }')
    )
    assert one.arguments_hash == other.arguments_hash
    assert Outcome(ToolCall("x", "fake", '{"a":2}'), "success", "").arguments_hash != one.arguments_hash


def test_schemas_are_plain_and_fit_what_is_checked():
    for tool in TOOLS.values():
        schema = tool.parameters()
        assert (schema["type"], schema["additionalProperties"]) == ("object", False)
        assert "title" not in json.dumps(schema)
    assert checked(TOOLS["file_read"], '{"file_id": "x"}').offset == 0
    assert [tool.name for tool in offered(["file_read", "nonsense"], has_files=True)] == ["file_read"]
    assert offered(["file_read"], has_files=False) == ()


def test_in_words_a_choice_is_read_back_as_it_is_shown():
    [call] = calls(7)
    outcome = Outcome(call, "success", "seven")
    said, told = in_words([ToolStep("", (outcome,))], "mark")
    assert chosen(said.content, call_id="c0") == call
    assert told.content == "[mark] Result of the tool fake:\nseven\n[/mark]"
    for text in ('{"next": {"action": "answer"}}', "I would like to answer.", "{}", '{"next": 7}', ""):
        assert chosen(text, call_id="c0") is None
    schema = choice_schema([]).schema
    assert schema["properties"]["next"]["anyOf"] == [
        {"type": "object", "properties": {"action": {"type": "string", "enum": ["answer"]}}, "required": ["action"],
         "additionalProperties": False},
    ]  # fmt: skip


def test_natively_ids_stay_apart_although_a_model_uses_them_again():
    step = ToolStep("", (Outcome(calls(1)[0], "success", "one [mark] [/mark]"),))
    first, one, second, two = natively([step, step], "mark")
    assert [m.tool_calls[0].id for m in (first, second)] == [m.tool_call_id for m in (one, two)] == ["0_c0", "1_c0"]
    # What a tool gives cannot close the marks around it.
    assert one.content == "[mark] Result of the tool fake:\none [-] [/-]\n[/mark]"


def test_cutting_keeps_whole_characters():
    assert beginning("aé", 2) == "a"
    assert beginning("é", 1) == ""
    assert cut("short", 100) == "short"
    text = cut("x" * 200, 100)
    assert (size_of(text) <= 100, text.startswith("x" * 52), text.endswith("148 more bytes]")) == (True, True, True)

"""What providers do wrong, through the whole stack to a stream's viewer: exact events, exact text, exact bill."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from itertools import count

import pytest

from billing.models import CreditTransaction, LLMCallEvent
from sessions_app.models import Message
from sessions_app.tests.e2e.servers import sse
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.tests.scripted_reply import steps

# A silence of a second is a timeout here, and one retry is enough to see retrying.
ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "1", "LLM_MAX_RETRIES": "1"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

# (0.35 x 100 + 65) x 2 / 10000 = 0.02 credits on gpt-4o
USAGE = {"prompt_tokens": 100, "completion_tokens": 65}
ERROR = {"message": "this text is never an answer"}


def streamed(client, session):
    """A turn's events, and the answer's text as they tell it."""
    answer = client.post(f"/sessions/{session}/turns/stream", json={"message": "hi"})
    assert answer.status_code == 200, answer.text
    events = sse(answer.text)
    assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
    return events, "".join(data["delta"] for _, name, data in events if name == "chunk")


def stored_answer(turn_id):
    return Message.objects.get(turn_id=turn_id, role="assistant").content


def debits(person):
    entries = CreditTransaction.objects.filter(user_id=person.id, kind="debit")
    return list(entries.values_list("amount", flat=True))


@pytest.mark.parametrize("fault", ["stall", "reset", "cut", "end", "error_frame", "error_event"])
def test_a_viewer_gets_the_text_before_a_fault_and_the_bill_for_it(web, provider, script, fault):
    script.reply = Reply(
        chunks=("Zwölf ", "\u2028😀", "never sent"), usage=USAGE, fault=fault, fault_after=2, error=ERROR
    )
    alice = make_person("alice", credits="1")
    session = make_session(alice, "solo")
    provider.journal.clear()
    with web.client(alice.token) as client:
        events, text = streamed(client, session)
        end = events[-1][2]
        (call,) = client.get(f"/turns/{end['turn_id']}/bill").json()["calls"]
    assert text == stored_answer(end["turn_id"]) == "Zwölf \u2028😀"
    assert (events[-1][1], end["status"], end["balance_after"]) == ("done", "partial", "0.99836000")
    assert [data["status"] for _, name, data in events if name == "agent_finished"] == ["partial"]
    # Input: "You are solo." and "hi" are 15 bytes: 4 tokens, and 4 for each of two messages. Output: 14 bytes.
    assert (call["usage_source"], call["input_tokens_fresh"], call["output_tokens"]) == ("estimated", 12, 4)
    # (0.35 x 12 + 4) x 2 / 10000
    assert debits(alice) == [Decimal("-0.00164000")]
    # Nothing is asked again once text came.
    assert len(provider.journal) == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(fault="stall"), "provider_timeout"),
        (Reply(fault="hang"), "provider_timeout"),
        (Reply(fault="drop_reset"), "provider_unavailable"),
        (Reply(fault="error_frame", error=ERROR), "provider_error"),
        (Reply(fault="error_event", error=ERROR), "provider_error"),
        (Reply(status=500, error=ERROR), "provider_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.fault or value.status,
)
def test_a_viewer_of_a_turn_in_which_nothing_was_said_gets_an_error_and_no_bill(web, script, reply, code):
    script.reply = reply
    alice = make_person("alice", credits="1")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client:
        events, text = streamed(client, session)
        turn = client.get(f"/turns/{events[-1][2]['turn_id']}").json()
        wallet = client.get("/users/me/wallet").json()
    assert (text, events[-1][1], events[-1][2]["code"]) == ("", "error", code)
    assert [message["role"] for message in turn["messages"]] == ["user"]
    assert (turn["status"], turn["error"]["code"]) == ("failed", code)
    assert (wallet["balance"], wallet["held"]) == ("1.00000000", "0.00000000")
    assert debits(alice) == []


# In the bytes of the answer: characters of two, three and four bytes, line ends that are none, and an escaped one.
SPLIT = Reply(chunks=("é", "日\u2028\u0085", "😀\n"), usage=USAGE, model="m")


def test_a_split_at_any_byte_changes_neither_text_nor_bill(web, provider, script):
    size_bytes = sum(len(step.data) for step in steps(SPLIT, {}))
    # Two places a call, so that half as many calls will do.
    half, positions = size_bytes // 2, count(1)
    script.reply = lambda _body: replace(SPLIT, split_at=((at := next(positions)), at + half), delay_s=0.001)
    alice = make_person("alice", credits="100")
    provider.journal.clear()
    agents = [f"a{n}" for n in range(8)]
    with web.client(alice.token) as client:
        while len(provider.journal) <= half:
            turn = client.post(f"/sessions/{make_session(alice, *agents)}/turns", json={"message": "hi"}).json()
            assert [m["content"] for m in turn["messages"][1:]] == ["é日\u2028\u0085😀\n"] * 8, len(provider.journal)
            assert turn["usage"]["credits_charged"] == "0.16000000"
    assert {exchange.sent_bytes for exchange in provider.journal} == {size_bytes}
    assert debits(alice) == [Decimal("-0.02000000")] * len(provider.journal)


def with_all_line_ends(text):
    """A stream that begins with a byte order mark and whose lines end in each way that SSE knows."""
    frame = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": USAGE}
    lines = f"\ufeffdata: {json.dumps(frame)}\r\r: hello\r\n\r\ndata: {json.dumps(usage)}\n\rdata: [DONE]\r\r"
    return Reply(raw=lines.encode())


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(chunks=("é", "日\u2028\u0085", "😀\n"), usage=USAGE, piece_bytes=1), "é日\u2028\u0085😀\n"),
        (Reply(chunks=("a\u2028b\u2029c\u0085d",), usage=USAGE), "a\u2028b\u2029c\u0085d"),
        (Reply(chunks=("no ", "[DONE]"), usage=USAGE, has_done=False), "no [DONE]"),
        (Reply(chunks=("open ", "end"), usage=USAGE, keeps_open=True), "open end"),
        (Reply(chunks=("open ", "end"), usage=USAGE, keeps_open=True, has_done=False), "open end"),
        (Reply(chunks=("x",) * 100, usage=USAGE, usage_in_every_chunk=True), "x" * 100),
        (with_all_line_ends("Well."), "Well."),
    ],
    ids=[
        "byte-by-byte",
        "raw-line-separators",
        "without-done",
        "without-end",
        "without-done-or-end",
        "usage-in-every-chunk",
        "all-line-ends",
    ],
)
def test_what_is_odd_but_whole_is_answered_and_billed_as_reported(web, script, reply, text):
    script.reply = reply
    alice = make_person("alice", credits="1")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client:
        events, seen = streamed(client, session)
        end = events[-1][2]
    assert seen == stored_answer(end["turn_id"]) == text
    assert (events[-1][1], end["status"], end["balance_after"]) == ("done", "completed", "0.98000000")
    assert debits(alice) == [Decimal("-0.02000000")]
    call = LLMCallEvent.objects.get(turn_id=end["turn_id"])
    assert (call.usage_source, call.input_tokens_fresh, call.output_tokens) == ("provider", 100, 65)


def test_a_provider_that_says_when_to_come_back_is_asked_again_then_and_billed_once(web, provider, script):
    replies = iter(
        [Reply(status=429, headers={"Retry-After": "1"}, error=ERROR), Reply(chunks=("Here.",), usage=USAGE)]
    )
    script.reply = lambda _body: next(replies)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "solo")
    provider.journal.clear()
    with web.client(alice.token) as client:
        events, text = streamed(client, session)
    end = events[-1][2]
    assert [name for _, name, _ in events] == ["turn_started", "agent_started", "chunk", "agent_finished", "done"]
    assert (text, end["status"], end["credits_charged"]) == ("Here.", "completed", "0.02000000")
    first, second = provider.journal
    assert second.received_at - first.received_at >= 1
    assert first.body == second.body
    assert LLMCallEvent.objects.filter(user_id=alice.id).count() == 1
    assert debits(alice) == [Decimal("-0.02000000")]

"""A turn from the post to the bill, in each mode, on real sockets. Exact texts, exact credits."""

from __future__ import annotations

import socket
import time
from decimal import Decimal

import httpx
import pytest

from billing.models import CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from sessions_app.context.conversation import attributed, mark_of
from sessions_app.models import Turn, TurnStep
from sessions_app.tests.e2e.conftest import API_KEY
from sessions_app.tests.e2e.servers import SECRET_KEY, sse
from sessions_app.tests.makers import make_person, make_session, make_standalone_session
from sessions_app.tests.scripted_provider import Reply

# A silence of a second is a timeout here, and one retry is enough to see retrying.
ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "1", "LLM_MAX_RETRIES": "1"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

# 120 fresh, 40 cached, 80 output: 126.0000 OE tokens, 0.0252 credits on gpt-4o (x 2.0).
USAGE = {"prompt_tokens": 160, "completion_tokens": 80, "prompt_tokens_details": {"cached_tokens": 40}}


def said_by(body):
    """The agent whose role prompt a request carries."""
    return body["messages"][0]["content"].split("\n")[0].removeprefix("You are ").removesuffix(".")


def test_a_round_table_turn_is_answered_billed_and_itemised(web, provider, script):
    script.reply = lambda body: Reply(chunks=(f"I am {said_by(body)}", "."), usage=USAGE, model="gpt-4o-2026-11-20")
    alice = make_person("alice", credits="1")
    session = make_session(alice, "optimist", "skeptic")
    provider.journal.clear()
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "Shall we?"})
        assert answer.status_code == 201
        turn = answer.json()
        assert (turn["status"], turn["mode"], turn["turn_index"]) == ("completed", "roundtable", 1)
        assert [(m["role"], m["agent_key"], m["content"]) for m in turn["messages"]] == [
            ("user", None, "Shall we?"),
            ("assistant", "optimist", "I am optimist."),
            ("assistant", "skeptic", "I am skeptic."),
        ]
        assert turn["usage"] == {
            "credits_burned": "0.0504",
            "credits_charged": "0.05040000",
            "llm_calls": 2,
            "input_tokens_fresh": 240,
            "input_tokens_cached": 80,
            "output_tokens": 160,
        }
        assert (turn["balance_after"], turn["low_balance"]) == ("0.94960000", True)
        assert (turn["provider_model"], turn["pricing_version"]) == ("gpt-4o-2026-11-20", "2026-02-20")
        assert client.get(f"/turns/{turn['id']}").json() == turn
        bill = client.get(f"/turns/{turn['id']}/bill").json()
        assert [(c["agent_key"], c["oe_tokens"], c["credits_burned"], c["credits_charged"]) for c in bill["calls"]] == [
            ("optimist", "126.0000", "0.0252", "0.02520000"),
            ("skeptic", "126.0000", "0.0252", "0.02520000"),
        ]
        assert bill["calls"][0]["formula"] == (
            "(0.35 x 120 fresh + 0.35 x 0 cache-write + 0.1 x 40 cached + 1 x 80 output) x 2 / 10000 = 0.02520000"
        )
        assert client.get("/users/me/wallet").json()["held"] == "0.00000000"
    first, second = provider.journal
    assert first.body["stream"] is True
    assert first.headers["authorization"] == f"Bearer {API_KEY}"
    assert second.body["messages"][-1] == {
        "role": "user",
        "content": attributed("Optimist (@optimist) said", "I am optimist.", mark_of(session, secret=SECRET_KEY)),
    }
    assert "optimist" not in second.body["messages"][0]["content"]


def test_the_next_turn_reads_the_conversation_so_far(web, provider, script):
    script.reply = lambda body: Reply(chunks=(f"{said_by(body)} {len(body['messages'])}",), usage=USAGE)
    alice = make_person("alice")
    session = make_session(alice, "optimist", "skeptic")
    with web.client(alice.token) as client:
        client.post(f"/sessions/{session}/turns", json={"message": "One"})
        client.post(f"/sessions/{session}/turns", json={"message": "Two"})
        listed = client.get(f"/sessions/{session}/turns").json()["results"]
        assert [turn["turn_index"] for turn in listed] == [2, 1]
        messages = client.get(f"/sessions/{session}/messages").json()["results"]
        assert [m["content"] for m in reversed(messages)][:4] == ["One", "optimist 2", "skeptic 3", "Two"]
    sent = provider.journal[-2].body["messages"]
    assert [(m["role"], m["content"]) for m in sent[1:]] == [
        ("user", "One"),
        ("assistant", "optimist 2"),
        ("user", attributed("Skeptic (@skeptic) said", "skeptic 3", mark_of(session, secret=SECRET_KEY))),
        ("user", "Two"),
    ]


def test_a_manual_room_answers_with_the_tagged_agents_and_names_unknown_tags(web, script):
    script.reply = lambda body: Reply(chunks=(said_by(body),), usage=USAGE)
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", "cal", mode="manual")
    with web.client(alice.token) as client:
        turn = client.post(
            f"/sessions/{session}/turns", json={"message": "@cal and @Ann, not @zoe nor x@ben.org?"}
        ).json()
        assert [m["agent_key"] for m in turn["messages"][1:]] == ["cal", "ann"]
        assert turn["warnings"] == [{"code": "unknown_agent_tags", "detail": "No agent of this room is called @zoe."}]
        assert turn["usage"]["llm_calls"] == 2
        for message in ("nobody here", "@zoe?"):
            refused = client.post(f"/sessions/{session}/turns", json={"message": message})
            assert (refused.status_code, refused.json()["code"]) == (422, "no_valid_tagged_agents")
    assert Turn.objects.filter(session_id=session).count() == 1


def test_tagged_agents_answer_the_user_alone(web, provider, script):
    script.reply = Reply(usage=USAGE)
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben", mode="manual")
    with web.client(alice.token) as client:
        client.post(f"/sessions/{session}/turns", json={"message": "@ann @ben hi"})
    assert [m["role"] for m in provider.journal[-1].body["messages"]] == ["system", "user"]


def test_an_agent_on_its_own_answers(web, script):
    script.reply = Reply(chunks=("Alone.",), usage=USAGE)
    alice = make_person("alice")
    session = make_standalone_session(alice)
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()
        assert (turn["mode"], turn["messages"][1]["content"]) == ("standalone", "Alone.")
        assert client.get("/rooms").json()["results"] == []


def test_a_stream_carries_the_text_and_ends_after_the_commit(web, script):
    text = "Zeile\u2028mit € und 😀"
    script.reply = Reply(chunks=tuple(text), usage=USAGE, delay_s=0.002)
    alice = make_person("alice")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client:
        answer = client.post(
            f"/sessions/{session}/turns/stream", json={"message": "hi"}, headers={"Accept": "text/event-stream"}
        )
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert "\u2028" not in answer.text
        events = sse(answer.text)
        assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
        names = [name for _, name, _ in events]
        assert (names[0], names[1], names[-2], names[-1]) == (
            "turn_started", "agent_started", "agent_finished", "done",
        )  # fmt: skip
        assert "".join(data["delta"] for _, name, data in events if name == "chunk") == text
        done = events[-1][2]
        assert (done["status"], done["credits_burned"], done["credits_charged"]) == (
            "completed",
            "0.0252",
            "0.02520000",
        )
        turn = client.get(f"/turns/{done['turn_id']}").json()
        assert (turn["status"], turn["messages"][1]["content"]) == ("completed", text)
        assert turn["balance_after"] == done["balance_after"] == "9.97480000"


def test_a_client_that_hangs_up_changes_nothing(web, script):
    script.reply = Reply(chunks=("a", "b", "c", "d"), usage=USAGE, delay_s=0.3)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client, pytest.raises(httpx.ReadTimeout):
        client.post(f"/sessions/{session}/turns", json={"message": "hi"}, timeout=0.5)
    turn = wait_for_end(session)
    assert turn.status == "completed"
    assert CreditWallet.objects.get(user_id=alice.id).balance == Decimal("0.97480000")


def wait_for_end(session, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        turn = Turn.objects.filter(session_id=session).exclude(status="running").order_by("-turn_index").first()
        if turn is not None:
            return turn
        time.sleep(0.05)
    raise AssertionError("the turn did not end")


def test_one_agents_failure_is_its_own(web, script):
    broken = Reply(status=400, error={"message": f"bad request {API_KEY}", "type": "invalid_request_error"})
    script.reply = lambda body: broken if said_by(body) == "ben" else Reply(chunks=("fine",), usage=USAGE)
    alice = make_person("alice", credits="1")
    session = make_session(alice, "ann", "ben", "cal")
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"})
        turn = answer.json()
        assert (answer.status_code, turn["status"]) == (201, "partial")
        assert [m["agent_key"] for m in turn["messages"][1:]] == ["ann", "cal"]
        assert turn["error"]["code"] == "provider_error"
        assert turn["balance_after"] == "0.94960000"
        statuses = [call["status"] for call in client.get(f"/turns/{turn['id']}/bill").json()["calls"]]
    assert statuses == ["success", "error", "success"]
    assert API_KEY not in answer.text
    assert not Turn.objects.filter(error_detail__contains=API_KEY).exists()


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Reply(status=400, error={"message": "no"}), 502, "provider_error"),
        (Reply(status=401, error={"message": f"key {API_KEY} is wrong"}), 502, "provider_error"),
        (Reply(status=503, headers={"Retry-After": "0"}), 503, "provider_unavailable"),
        (
            Reply(status=429, headers={"Retry-After": "120"}, error={"message": "slow down"}),
            503,
            "provider_unavailable",
        ),
        (Reply(fault="hang"), 504, "provider_timeout"),
        (Reply(fault="error_frame", error={"message": "overloaded"}), 502, "provider_error"),
    ],
)
def test_a_turn_in_which_nobody_answered_fails_and_costs_nothing(web, script, reply, status, code):
    script.reply = reply
    alice = make_person("alice", credits="1")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client:
        headers = {"Idempotency-Key": "once"}
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=headers)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert API_KEY not in answer.text
        turn = client.get(f"/turns/{problem['turn_id']}").json()
        assert (turn["status"], turn["usage"]["credits_charged"]) == ("failed", "0.00000000")
        again = client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=headers)
        assert (again.status_code, again.json()) == (status, problem)
        assert again.headers["idempotency-replayed"] == "true"
        wallet = client.get("/users/me/wallet").json()
        assert (wallet["balance"], wallet["held"]) == ("1.00000000", "0.00000000")
    assert LLMCallEvent.objects.filter(user_id=alice.id).count() == 1
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 0


@pytest.mark.parametrize("fault", ["cut", "reset", "end", "error_frame", "stall"])
def test_text_before_a_cut_is_kept_and_billed_by_estimate(web, script, fault):
    script.reply = Reply(
        chunks=("Twelve chars", "never sent"), usage=USAGE, fault=fault, fault_after=1,
        error={"message": "this text is never an answer"},
    )  # fmt: skip
    alice = make_person("alice", credits="1")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"})
        turn = answer.json()
        assert (answer.status_code, turn["status"]) == (201, "partial")
        assert turn["messages"][1]["content"] == "Twelve chars"
        (call,) = client.get(f"/turns/{turn['id']}/bill").json()["calls"]
    # Input: "You are solo." and "hi" are 15 bytes: 4 tokens, and 4 for each of two messages. Output: 12 bytes.
    assert (call["usage_source"], call["input_tokens_fresh"], call["output_tokens"]) == ("estimated", 12, 3)
    # (0.35 x 12 + 3) x 2 / 10000
    assert call["credits_charged"] == "0.00144000"
    assert turn["balance_after"] == "0.99856000"


def test_usage_reported_as_zero_is_not_estimated(web, script):
    script.reply = Reply(usage={"prompt_tokens": 0, "completion_tokens": 0})
    alice = make_person("alice", credits="1")
    session = make_session(alice, "solo")
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()
    assert (turn["status"], turn["usage"]["credits_charged"], turn["balance_after"]) == (
        "completed", "0.00000000", "1.00000000",
    )  # fmt: skip


def test_eight_agents_cost_the_sum_of_eight_events(web, script):
    script.reply = lambda body: Reply(chunks=("x",), usage={"prompt_tokens": 7, "completion_tokens": 1})
    alice = make_person("alice")
    session = make_session(alice, *[f"a{n}" for n in range(8)])
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()
    events = LLMCallEvent.objects.filter(turn_id=turn["id"]).order_by("call_index")
    assert [event.call_index for event in events] == list(range(1, 9))
    # (0.35 x 7 + 1) x 2 / 10000 = 0.00069 each
    assert turn["usage"]["credits_charged"] == "0.00552000"
    assert Decimal(turn["balance_after"]) == 10 - sum(event.credits_charged for event in events)
    assert TurnStep.objects.filter(turn_id=turn["id"], status="success").count() == 8


def test_in_hard_mode_a_turn_ends_where_the_money_does(web, script):
    script.reply = lambda body: Reply(chunks=("x" * 40,), usage={"prompt_tokens": 10, "completion_tokens": 1_000})
    alice = make_person("alice", credits="0.5")
    session = make_session(alice, "ann", "ben", "cal")
    with web.client(alice.token) as client:
        events = sse(
            client.post(f"/sessions/{session}/turns/stream", json={"message": "hi", "max_output_tokens": 1_100}).text
        )
        # A call costs 0.2007 and is held for with at most 0.23: two fit, the third does not.
        warnings = [data["code"] for _, name, data in events if name == "warning"]
        assert warnings == ["insufficient_credits"]
        assert events[-1][1] == "done"
        assert (events[-1][2]["status"], events[-1][2]["credits_charged"]) == ("partial", "0.40140000")
        turn = client.get(f"/turns/{events[-1][2]['turn_id']}").json()
    assert [m["agent_key"] for m in turn["messages"][1:]] == ["ann", "ben"]
    assert turn["balance_after"] == "0.09860000"
    assert CreditHold.objects.get(reference_id=turn["id"]).status == "settled"


def test_a_client_that_hangs_up_in_the_moment_of_opening_leaves_no_turn_without_a_runner(web, script):
    script.reply = Reply(chunks=("x",), usage=USAGE)
    alice = make_person("alice")
    sessions = [make_session(alice, "solo") for _ in range(24)]
    body = b'{"message": "hi"}'
    for number, session in enumerate(sessions):
        with socket.create_connection(("127.0.0.1", web.port)) as client:
            head = (
                f"POST /api/v1/sessions/{session}/turns HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
                f"Authorization: Bearer {alice.token}\r\nContent-Type: application/json\r\n\r\n"
            )
            client.sendall(head.encode() + body)
            time.sleep(number * 0.001)
    deadline = time.monotonic() + 10
    while Turn.objects.filter(user_id=alice.id, status="running").exists() or time.monotonic() < deadline - 9:
        # Far less than the lease: nobody had to recover these.
        assert time.monotonic() < deadline
        time.sleep(0.05)
    statuses = list(Turn.objects.filter(user_id=alice.id).values_list("status", flat=True))
    assert set(statuses) == {"completed"}
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == len(statuses)

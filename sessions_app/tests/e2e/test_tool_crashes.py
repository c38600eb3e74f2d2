"""Turns that end while tools run, or just after: nothing is billed twice, and what was found out is kept."""

from __future__ import annotations

import json
import threading
import time
from decimal import Decimal

import pytest

from billing.models import CreditTransaction, LLMCallEvent, ToolCallEvent
from sessions_app.models import Agent, Turn, TurnStep
from sessions_app.tests.e2e.servers import web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.tests.tavily import Tavily
from sessions_app.turns.recovery import recover_lost_turns

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
USAGE = {"prompt_tokens": 100, "completion_tokens": 65}  # 0.02 credits on gpt-4o
PIECE = {"index": 0, "id": "a", "function": {"name": "search", "arguments": '{"query": "Rome"}'}}
ASKS = Reply(chunks=("Let me look.", {"tool_calls": [PIECE]}), finish_reason="tool_calls", usage=USAGE)


@pytest.fixture
def tavily():
    with Tavily() as serving:
        yield serving


@pytest.fixture(autouse=True)
def _lease(settings):
    """Of who recovers, as of who ran: leases count anew when PostgreSQL starts, which may be just now."""
    settings.TURN_LEASE_S = 2


@pytest.fixture
def one(committed, provider, tavily):
    """Starts a web process with a lease that is soon over."""

    def start(**environment):
        return web_processes(
            1, LLM_BASE_URL=provider.base_url, LLM_API_KEY="k", TAVILY_BASE_URL=tavily.url, TAVILY_API_KEY="t",
            TURN_LEASE_S="2", SWEEP_INTERVAL_S="3600", **environment,
        )  # fmt: skip

    return start


@pytest.fixture
def alice():
    person = make_person("alice", credits="5")
    return person, make_session(person, "ann")


def permit(person):
    Agent.objects.filter(user_id=person.id).update(tool_permissions=["search"])


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def posting(client, session):
    def post():
        try:
            client.post(f"/sessions/{session}/turns", json={"message": "Go"})
        except Exception:  # noqa: BLE001 - its process is killed
            return

    thread = threading.Thread(target=post)
    thread.start()
    return thread


def events_of(turn):
    return list(ToolCallEvent.objects.filter(turn_id=turn.pk).values_list("tool_name", "status"))


def debits(person):
    return [entry.amount for entry in CreditTransaction.objects.filter(user_id=person.id, kind="debit")]


def test_killed_while_a_tool_runs_the_call_that_asked_for_it_is_billed_once(one, alice, provider, script, tavily):
    person, session = alice
    permit(person)
    script.reply, tavily.behave = ASKS, tavily.hang
    with one() as (web,), web.client(person.token) as client:
        thread = posting(client, session)
        wait_for(lambda: tavily.asked)
        turn = Turn.objects.get(session_id=session)
        [step] = TurnStep.objects.filter(turn=turn)
        # Journaled before the tool began, however long that takes.
        assert (step.status, step.content) == ("success", "Let me look.")
        web.kill()
        thread.join()
    wait_for(lambda: recover_lost_turns() and Turn.objects.get(pk=turn.pk).finished_at)
    turn.refresh_from_db()
    assert (turn.status, debits(person), events_of(turn)) == ("interrupted", [Decimal("-0.02")], [])


def test_killed_after_a_tool_the_agent_is_asked_again_and_sees_what_it_gave(one, alice, provider, script):
    person, session = alice
    permit(person)
    script.reply = lambda body: Reply(fault="hang") if body["messages"][-1]["role"] == "tool" else ASKS
    with one() as (web,), web.client(person.token) as client:
        provider.journal.clear()
        thread = posting(client, session)
        wait_for(lambda: len(provider.journal) == 2)
        web.kill()
        thread.join()
    turn = Turn.objects.get(session_id=session)
    wait_for(lambda: recover_lost_turns() and Turn.objects.get(pk=turn.pk).finished_at)
    turn.refresh_from_db()
    assert (turn.status, events_of(turn)) == ("interrupted", [("search", "success")])
    # The second call was under way: recorded as lost with its process, and free.
    assert debits(person) == [Decimal("-0.02")]
    script.reply = Reply(chunks=("Not in a day.",), usage=USAGE)
    with one() as (web,), web.client(person.token) as client:
        provider.journal.clear()
        resumed = client.post(f"/turns/{turn.pk}/resume", json={}).json()
    assert (resumed["status"], resumed["messages"][-1]["content"]) == ("completed", "Not in a day.")
    [asked] = provider.journal
    assert "not built in a day" in json.dumps(asked.body["messages"])
    assert debits(person) == [Decimal("-0.02")] * 2


def test_a_cancelled_turn_has_a_result_for_the_tool_that_ran(one, alice, script, tavily):
    person, session = alice
    permit(person)
    script.reply, tavily.behave = ASKS, tavily.hang
    with one() as (web,), web.client(person.token) as client, web.client(person.token) as other:
        thread = posting(client, session)
        wait_for(lambda: tavily.asked)
        turn = Turn.objects.get(session_id=session)
        began = time.monotonic()
        other.post(f"/turns/{turn.pk}/cancel")
        thread.join()
        assert time.monotonic() - began < 10
    turn.refresh_from_db()
    assert (turn.status, debits(person), events_of(turn)) == (
        "cancelled", [Decimal("-0.02")], [("search", "cancelled")],
    )  # fmt: skip
    assert LLMCallEvent.objects.filter(turn_id=turn.pk).count() == 1

"""Turns in which tools have a price: held for before they run, billed once, in the settlement of their turn."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import connection

from billing.models import CreditHold, CreditTransaction, CreditWallet, ToolCallEvent
from pricing.services import remove_tool
from pricing.tests.makers import SEED, price_tool, seeded
from sessions_app.models import Turn
from sessions_app.tests.e2e.servers import sse, web_processes
from sessions_app.tests.e2e.test_tool_crashes import permit, posting, wait_for
from sessions_app.tests.e2e.test_tools import (  # noqa: F401 - fixtures
    KEY,
    _fresh,
    agents_with_tools,
    calls,
    make_file,
    post,
    says,
    scripted,
    tavily,
    tool_events,
    web,
)
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.turns.recovery import recover_lost_turns

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
SEARCH = calls(("search", {"query": "Rome"}))
ASKS = Reply(chunks=("Let me look.", *SEARCH.chunks), finish_reason="tool_calls", usage=SEARCH.usage)
# Of both scripted calls: 0.02 credits each on gpt-4o.
CALL, TOOL = ("agent", "-0.02000000"), ("tool", "-0.25000000")


@pytest.fixture(autouse=True)
def _prices(committed):
    price_tool("search", "0.25")
    price_tool("file_read", "0")


def make_searcher(name="alice", *, credits="5"):
    person = make_person(name, credits=credits)
    session = make_session(person, "ann")
    permit(person)
    return person, session


def debits(person):
    rows = CreditTransaction.objects.filter(user_id=person.id, kind="debit").order_by("seq")
    return [(row.reason, f"{row.amount:f}") for row in rows]


def balance(person):
    return CreditWallet.objects.get(user_id=person.id).balance


def test_a_priced_search_is_a_debit_between_those_of_two_calls_in_one_settlement(web, script):  # noqa: F811
    alice, session = make_searcher()
    agents_with_tools(alice, "search", "file_read")
    file = make_file(alice, session, "The password of the lighthouse is Herring.")
    script.reply = scripted(
        calls(("search", {"query": "Rome"}), ("file_read", {"file_id": str(file.id)})), says("Rome, and Herring."),
    )  # fmt: skip
    turn = post(web, alice, session)
    assert debits(alice) == [CALL, TOOL, CALL]
    assert (turn["usage"]["llm_calls"], turn["usage"]["credits_burned"], turn["usage"]["credits_charged"]) == (
        2, "0.2900", "0.29000000",
    )  # fmt: skip
    assert (turn["balance_after"], balance(alice)) == ("4.71000000", Decimal("4.71"))
    hold = CreditHold.objects.get(reference_id=turn["id"])
    assert (hold.status, hold.charged, hold.amount >= Decimal("0.29")) == ("settled", Decimal("0.29"), True)
    with web.client(alice.token) as client:
        bill = client.get(f"/turns/{turn['id']}/bill").json()
        usage = client.get("/users/me/usage?group_by=purpose,model_alias").json()
    lines = [(line["tool_name"], line["credits_burned"], line["credits_charged"]) for line in bill["tool_calls"]]
    assert lines == [("search", "0.2500", "0.25000000"), ("file_read", "0.0000", "0.00000000")]
    parts = [Decimal(line["credits_charged"]) for line in (*bill["calls"], *bill["tool_calls"])]
    assert sum(parts) == Decimal(bill["credits_charged"]) == Decimal("0.29")
    assert bill["credits_burned"] == "0.2900"
    shown = [(row["purpose"], row["model_alias"], row["credits_charged"]) for row in usage["breakdown"]]
    assert shown == [("tool", "", "0.25000000"), ("agent", "gpt-4o", "0.04000000")]
    assert usage["totals"]["credits_charged"] == "0.29000000"


def test_a_stream_and_its_replay_say_what_each_tool_cost(web, script):  # noqa: F811
    alice, session = make_searcher()
    script.reply = scripted(ASKS, says("Found it."))
    told = []
    with web.client(alice.token) as client:
        for _ in range(2):
            answer = client.post(
                f"/sessions/{session}/turns/stream", json={"message": "Go"}, headers={"Idempotency-Key": "one"}
            )
            told.append([
                (name, data.get("credits_charged"))
                for _, name, data in sse(answer.text)
                if name in {"agent_finished", "tool_finished", "done"}
            ])  # fmt: skip
            done = sse(answer.text)[-1][2]
            assert (done["credits_burned"], done["balance_after"]) == ("0.2900", "4.71000000")
    assert told[0] == [
        ("agent_finished", "0.02000000"), ("tool_finished", "0.25000000"), ("agent_finished", "0.02000000"),
        ("done", "0.29000000"),
    ]  # fmt: skip
    assert told[1] == told[0]


def test_a_tool_that_failed_or_was_answered_from_memory_costs_nothing(web, script, tavily):  # noqa: F811
    alice, session = make_searcher()
    script.reply = scripted(SEARCH, SEARCH, SEARCH, calls(("search", {"query": 7})), says("Enough."))
    turn = post(web, alice, session)
    assert [row[2] for row in tool_events(turn)] == ["success", "cached", "refused", "error"]
    assert (debits(alice).count(TOOL), len(tavily.asked)) == (1, 1)
    charged = ToolCallEvent.objects.filter(turn_id=turn["id"]).order_by("call_index")
    assert [f"{row.credits_charged:f}" for row in charged] == ["0.25000000", *["0.00000000"] * 3]


def test_a_turn_pays_the_price_that_it_opened_with_and_the_next_one_the_new_one(web, script, tavily):  # noqa: F811
    alice, session = make_searcher()

    def dearer_meanwhile(handler):
        price_tool("search", "1")
        connection.close()
        tavily.answer(handler)

    script.reply, tavily.behave = scripted(SEARCH, says("Found it.")), dearer_meanwhile
    first = post(web, alice, session)
    tavily.behave = None
    script.reply = scripted(SEARCH, says("Found it again."))
    second = post(web, alice, session)
    assert [tool for tool in debits(alice) if tool[0] == "tool"] == [TOOL, ("tool", "-1.00000000")]
    assert second["pricing_revision"] == first["pricing_revision"] + 1
    remove_tool(pricing_version=SEED, tool_name="search", actor="test")
    script.reply = scripted(SEARCH, says("For free."))
    third = post(web, alice, session)
    assert (third["usage"]["credits_charged"], third["pricing_revision"]) == ("0.04000000", seeded().revision)
    assert [row[2] for row in tool_events(third)] == ["success"]


def test_a_tool_that_the_wallet_does_not_cover_is_not_run_and_ends_the_turn(web, provider, script, tavily):  # noqa: F811
    alice, session = make_searcher(credits="0.26")
    both = calls(("search", {"query": "Rome"}), ("shell", {"command": "ls"}))
    script.reply = Reply(chunks=("Let me look.", *both.chunks), finish_reason="tool_calls", usage=both.usage)
    turn = post(web, alice, session, max_output_tokens=100)
    assert (turn["status"], [warning["code"] for warning in turn["warnings"]]) == ("partial", ["insufficient_credits"])
    assert turn["messages"][-1]["content"] == "Let me look."
    assert tool_events(turn) == [
        ("ann", "search", "refused", "insufficient_credits"), ("ann", "shell", "refused", "insufficient_credits"),
    ]  # fmt: skip
    assert (tavily.asked, len(provider.journal), debits(alice)) == ([], 1, [CALL])
    assert (turn["balance_after"], CreditWallet.objects.get(user_id=alice.id).held) == ("0.24000000", 0)


def test_what_is_not_run_anyway_needs_no_credits(web, script):  # noqa: F811
    """The second time the search is answered from memory: the wallet, which could not pay it again, is not asked."""
    alice, session = make_searcher(credits="0.4")
    script.reply = scripted(SEARCH, SEARCH, says("Found it."))
    turn = post(web, alice, session, max_output_tokens=50)
    assert (turn["status"], [row[2] for row in tool_events(turn)]) == ("completed", ["success", "cached"])
    assert debits(alice) == [CALL, TOOL, CALL, CALL]


def test_a_spending_limit_keeps_a_tool_from_running(web, script, tavily):  # noqa: F811
    alice, session = make_searcher()
    with web.client(alice.token) as client:
        agent = client.get("/agents").json()["results"][0]["id"]
        body = {"subject": "agent", "subject_id": agent, "period": "day", "amount": "0.26"}
        assert client.post("/users/me/spending-limits", json=body).status_code == 201
        script.reply = ASKS
        turn = post(web, alice, session, max_output_tokens=100)
        [limit] = client.get("/users/me/spending-limits").json()["results"]
    assert (turn["status"], tool_events(turn)[0][2:]) == ("partial", ("refused", "spending_limit_reached"))
    assert (tavily.asked, limit["spent"]) == ([], "0.02000000")


def test_two_turns_want_what_the_wallet_has_for_one_tool(web, script, tavily):  # noqa: F811
    alice, one = make_searcher(credits="0.4")
    two = make_session(alice, "ann")
    # Both are under way before one of them asks for its tool.
    slow = replace(ASKS, first_delay_s=1)
    script.reply = lambda body: says("Found it.") if body["messages"][-1]["role"] == "tool" else slow
    turns = []
    threads = [
        threading.Thread(target=lambda s=session: turns.append(post(web, alice, s, max_output_tokens=50)))
        for session in (one, two)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turn["status"] for turn in turns) == ["completed", "partial"]
    assert (len(tavily.asked), debits(alice).count(TOOL), debits(alice).count(CALL)) == (1, 1, 3)
    assert balance(alice) == Decimal("0.09")


def test_an_estimate_has_all_calls_of_the_dearest_tool_in_it(web):  # noqa: F811
    alice, session = make_searcher()

    def most():
        with web.client(alice.token) as client:
            body = {"message": "Go", "max_output_tokens": 100}
            return Decimal(client.post(f"/sessions/{session}/turns/estimate", json=body).json()["credits_max"])

    priced = most()
    price_tool("file_read", "9")
    assert most() == priced
    price_tool("search", "0")
    assert priced - most() == 8 * Decimal("0.25")


def test_killed_after_a_priced_tool_it_is_billed_once_and_not_again_when_resumed(
    committed, provider, script, tavily  # noqa: F811
):  # fmt: skip
    person, session = make_searcher()
    environment = {
        "LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "TAVILY_BASE_URL": tavily.url, "TAVILY_API_KEY": KEY,
        "TURN_LEASE_S": "2", "SWEEP_INTERVAL_S": "3600",
    }  # fmt: skip
    script.reply = lambda body: Reply(fault="hang") if body["messages"][-1]["role"] == "tool" else ASKS
    with web_processes(1, **environment) as (process,), process.client(person.token) as client:
        thread = posting(client, session)
        wait_for(lambda: len(provider.journal) == 2)
        process.kill()
        thread.join()
    turn = Turn.objects.get(session_id=session)
    price_tool("search", "3")
    wait_for(lambda: recover_lost_turns() and Turn.objects.get(pk=turn.pk).finished_at)
    assert (Turn.objects.get(pk=turn.pk).status, debits(person)) == ("interrupted", [CALL, TOOL])
    assert recover_lost_turns() == 0
    script.reply = says("Not in a day.")
    with web_processes(1, **environment) as (process,), process.client(person.token) as client:
        resumed = client.post(f"/turns/{turn.pk}/resume", json={}).json()
        bill = client.get(f"/turns/{turn.pk}/bill").json()
    assert (resumed["status"], resumed["usage"]["credits_charged"]) == ("completed", "0.02000000")
    assert debits(person) == [CALL, TOOL, CALL]
    assert (bill["credits_charged"], len(tavily.asked)) == ("0.27000000", 1)


def test_cancelled_while_a_priced_tool_runs_it_is_free(web, script, tavily):  # noqa: F811
    alice, session = make_searcher()
    script.reply, tavily.behave = ASKS, tavily.hang
    with web.client(alice.token) as client, web.client(alice.token) as other:
        thread = posting(client, session)
        wait_for(lambda: tavily.asked)
        turn = Turn.objects.get(session_id=session)
        assert CreditWallet.objects.get(user_id=alice.id).held >= Decimal("0.27")
        other.post(f"/turns/{turn.pk}/cancel")
        thread.join()
    turn.refresh_from_db()
    assert (turn.status, debits(alice), tool_events({"id": turn.pk})[0][2]) == ("cancelled", [CALL], "cancelled")
    assert CreditWallet.objects.get(user_id=alice.id).held == 0

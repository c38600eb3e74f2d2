"""How many statements a turn costs, counted in PostgreSQL's own log: the same for one agent as for eight."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from django.db import connection

from pricing.tests.makers import price_tool
from sessions_app.models import Turn
from sessions_app.tests.e2e.servers import web_processes
from sessions_app.tests.e2e.test_tools import agents_with_tools, calls, says, scripted
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.tests.tavily import Tavily

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

# One line a statement: `… [pid] application@database LOG:  statement: …`; the prefix is the embedded server's.
_STATEMENT = re.compile(r"LOG:\s+(?:statement|execute [^:]*): ?(.*)")


@pytest.fixture(scope="module")
def logged(committed, provider):
    """A web process whose statements PostgreSQL logs."""
    name = f"counted-{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (database,) = cursor.fetchone()
        cursor.execute(f"ALTER DATABASE \"{database}\" SET log_statement = 'all'")
    try:
        with (
            Tavily() as tavily,
            web_processes(
                1, name=name, LLM_BASE_URL=provider.base_url, TAVILY_BASE_URL=tavily.url, TAVILY_API_KEY="t"
            ) as (web,),
        ):
            yield web, name
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{database}" RESET log_statement')


def statements_since(offset: int, name: str) -> list[str]:
    with Path(os.environ["TALLYROOM_PG_LOG"]).open("rb") as log:
        log.seek(offset)
        text = log.read().decode("utf-8", "replace")
    found = []
    for entry in re.split(r"\n(?=\d{4}-\d\d-\d\d )", text):
        match = _STATEMENT.search(entry)
        if name in entry and match:
            found.append(" ".join((match[1] + entry[match.end() :]).split()))
    return found


def transactions(statements: list[str]) -> list[list[str]]:
    """The statements of each transaction, BEGIN and COMMIT included, in the order in which they began."""
    groups: list[list[str]] = []
    for statement in statements:
        if statement == "BEGIN":
            groups.append([statement])
        elif groups and groups[-1][-1] not in {"COMMIT", "ROLLBACK"}:
            groups[-1].append(statement)
    return groups


@pytest.mark.parametrize("agents", [1, 8])
def test_opening_takes_six_statements_and_settling_six(logged, script, agents):
    script.reply = Reply(usage={"prompt_tokens": 100, "completion_tokens": 10})
    web, name = logged
    alice = make_person("alice", credits="100")
    session = make_session(alice, *[f"a{n}" for n in range(agents)])
    with web.client(alice.token) as client:
        client.post(f"/sessions/{session}/turns", json={"message": "warm"})
        offset = Path(os.environ["TALLYROOM_PG_LOG"]).stat().st_size
        headers = {"Idempotency-Key": "counted"}
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers=headers).json()
    assert (turn["status"], turn["usage"]["llm_calls"]) == ("completed", agents)
    time.sleep(0.3)
    found = transactions(statements_since(offset, name))
    opening = [group for group in found if any("INSERT INTO turns" in item for item in group)]
    settling = [group for group in found if any("UPDATE turns SET status" in item for item in group)]
    journal = [group for group in found if group not in opening and group not in settling]
    assert [len(group) for group in opening] == [6]
    assert [len(group) for group in settling] == [6]
    # One small transaction between two calls: BEGIN, journal, lock, read, write, COMMIT.
    assert [len(group) for group in journal] == [6] * (agents - 1)
    assert Turn.objects.filter(session_id=session).count() == 2


@pytest.mark.parametrize(("price", "before_tools"), [("0", 3), ("0.01", 6)])
def test_tools_take_one_small_transaction_and_no_statement_more_in_settling(logged, script, price, before_tools):
    price_tool("search", price)
    web, name = logged
    alice = make_person("alice", credits="100")
    session = make_session(alice, "ann")
    agents_with_tools(alice, "search")
    with web.client(alice.token) as client:
        script.reply = says("Warm.")
        client.post(f"/sessions/{session}/turns", json={"message": "warm"})
        script.reply = scripted(calls(("search", {"query": "Rome"})), says("Rome."))
        offset = Path(os.environ["TALLYROOM_PG_LOG"]).stat().st_size
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()
    assert (turn["status"], turn["usage"]["llm_calls"]) == ("completed", 2)
    time.sleep(0.3)
    found = transactions(statements_since(offset, name))
    settling = [group for group in found if any("UPDATE turns SET status" in item for item in group)]
    assert [len(group) for group in settling] == [6]
    # Before the tool: BEGIN, journal, COMMIT, and where it has a price the hold's lock, read and write. Before the
    # second call: as between any two.
    journal = [len(group) for group in found if any("INSERT INTO turn_steps" in item for item in group)]
    assert journal[1:-1] == [before_tools, 6]

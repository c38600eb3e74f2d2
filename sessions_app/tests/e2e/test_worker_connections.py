"""A worker with more turns than database connections: they take turns, and none is kept while it waits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from billing.models import CreditTransaction
from sessions_app.tests.e2e.test_background import queued, status_of, wait_for, worker
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

ENVIRONMENT = {"SWEEP_INTERVAL_S": "1", "TURN_LEASE_S": "3"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

TURNS = 4


def test_as_many_turns_as_the_pool_has_connections_all_end(web, script):
    script.reply = Reply(chunks=("a", "b", "c"), delay_s=0.5)
    alice = make_person("alice", credits="5")
    sessions = [make_session(alice, "ann") for _ in range(TURNS)]
    small = SimpleNamespace(environment={**web.environment, "DATABASE_POOL_SIZE": "2"})
    with worker(small), web.client(alice.token) as client:
        turns = [queued(client, session) for session in sessions]
        wait_for(lambda: {status_of(turn) for turn in turns} == {"completed"}, 20)
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == TURNS

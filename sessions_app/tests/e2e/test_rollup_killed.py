"""Rolling up in a process that is killed again and again: what was written stands, and each event is counted once."""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.utils import timezone

from billing.reports.usage import UsageQuery, usage_report
from billing.rollup.rolling import rolled_up_to
from billing.tests import usage_oracle as oracle
from billing.tests.makers import charge_at, make_call, make_wallet
from pricing.rating import TokenPools
from sessions_app.tests.e2e.processes import ForkedProcess
from sessions_app.tests.e2e.servers import SECRET_KEY, database_url

pytestmark = pytest.mark.server
FIRST = datetime(2026, 3, 1, 5, 7, tzinfo=UTC)
EVENTS, KILLS = 240, 6
SPAN = timedelta(days=120)
# Far beyond what a process takes to start and to write a batch.
PATIENCE_S = 60


def rolling_up(*arguments):
    environment = {
        **os.environ, "SECRET_KEY": SECRET_KEY, "DATABASE_URL": database_url("rollup"),
        "REDIS_URL": settings.REDIS_URL, "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    return ForkedProcess("manage", "roll_up_usage", *arguments, environment=environment)


def killed_in_the_middle(dice):
    """At a random moment after it has committed something."""
    before, process = rolled_up_to(), rolling_up()
    deadline = time.monotonic() + PATIENCE_S
    while rolled_up_to() == before and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(dice.uniform(0, 0.05))
    process.kill()
    process.wait(timeout=PATIENCE_S)


def test_a_rollup_that_is_killed_again_and_again_counts_each_event_once(committed):
    dice = random.Random(7)
    people = [make_wallet("1000") for _ in range(3)]
    for number in range(EVENTS):
        at = FIRST + SPAN * number / EVENTS
        charge_at(at, dice.choice(people), make_call(TokenPools(output=dice.randint(1, 900))))
    end = timezone.now()
    query = UsageQuery(start=FIRST, end=end, tz=ZoneInfo("America/Los_Angeles"), group_by=("user",))
    events = oracle.events_of(FIRST, end)
    assert len(events) == EVENTS
    moments = []
    for _ in range(KILLS):
        killed_in_the_middle(dice)
        moments.append(rolled_up_to())
        assert usage_report(query)["totals"] == oracle.added_up(events)
    assert moments == sorted(moments)
    assert moments[0] < FIRST + SPAN
    # Exit 0: every day that is rolled up is what its events come to.
    assert rolling_up("--check").wait(timeout=2 * PATIENCE_S) == 0
    assert rolled_up_to() > FIRST + SPAN
    report = usage_report(query)
    assert report["totals"] == oracle.added_up(events)
    assert {row["user"]: row["calls"] for row in report["breakdown"]} == {
        person: sum(event.user_id == person for event in events) for person in people
    }

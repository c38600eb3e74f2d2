"""Rolling up while turns settle: no event is missed, none is counted twice, and every report in between is exact."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import closing
from billing.models import LLMCallEvent, UsageActivity, UsageRollup, UsageTotal
from billing.reports.usage import UsageQuery, usage_report
from billing.rollup import rolling
from billing.rollup.rolling import roll_up, roll_up_batch, rolled_up_to
from billing.tests import usage_oracle as oracle
from billing.tests.makers import charge, charge_at, make_call, make_wallet
from billing.tests.race.forcing import somebody_else
from config.core.tests.racing import at_once
from config.core.transactions import snapshot
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db(transaction=True)

CREDIT = TokenPools(output=10_000)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
RUN_S = 3


@pytest.fixture
def short_quarters(monkeypatch):
    """Quarters of a quarter of a second, over as soon as nobody can add to them: what a day has, in seconds."""
    monkeypatch.setattr(rolling, "QUARTER", timedelta(milliseconds=250))
    monkeypatch.setattr(closing, "MARGIN_S", 0)


def for_a_while(work):
    def again_and_again():
        end = time.monotonic() + RUN_S
        while time.monotonic() < end:
            work()

    return again_and_again


def test_events_that_settle_while_two_roll_up_are_each_counted_once_at_every_moment(short_quarters):
    wallets = [make_wallet("1000") for _ in range(2)]
    began = timezone.now()

    def report_is_exact():
        query = UsageQuery(
            start=began - timedelta(hours=1), end=timezone.now() + timedelta(hours=1), tz=ZoneInfo("UTC"),
            group_by=("user",),
        )  # fmt: skip
        with snapshot():
            report = usage_report(query)
            events = list(LLMCallEvent.objects.all())
        assert report["totals"] == oracle.added_up(events)
        assert {row["user"]: row["calls"] for row in report["breakdown"]} == {
            user_id: sum(event.user_id == user_id for event in events) for user_id in {e.user_id for e in events}
        }

    results = at_once(
        *[for_a_while(lambda user_id=user_id: charge(user_id, CREDIT, CREDIT)) for user_id in wallets],
        *[for_a_while(lambda: roll_up(timezone.now()))] * 2,
        for_a_while(report_is_exact),
    )
    assert results == [None] * 5
    time.sleep(0.5)
    roll_up(timezone.now())
    assert rolled_up_to() > LLMCallEvent.objects.latest("created_at").created_at
    events = list(LLMCallEvent.objects.all())
    assert len(events) > 10
    for model in (UsageRollup, UsageTotal):
        assert sum(model.objects.values_list("calls", flat=True)) == len(events)
    assert UsageActivity.objects.filter(seen_before=None).count() == len(wallets)
    report_is_exact()


def test_a_time_is_not_rolled_up_while_a_transaction_from_before_it_may_still_commit(short_quarters):
    alice, bob = make_wallet("100"), make_wallet("100")
    charge(bob, CREDIT)
    time.sleep(0.6)
    roll_up(timezone.now())
    before = rolled_up_to()
    charge(bob, CREDIT)
    with somebody_else() as other:
        other.execute("BEGIN")
        # A settlement that has its wallet's lock, and so its time, and does not get on.
        other.execute("SELECT 1 FROM credit_wallets WHERE user_id = %s FOR NO KEY UPDATE", [alice])
        began = timezone.now()
        time.sleep(0.6)
        roll_up(timezone.now())
        assert before <= rolled_up_to() <= began
        other.execute("ROLLBACK")
    roll_up(timezone.now())
    assert rolled_up_to() > began


def test_four_who_roll_up_at_once_write_each_sum_once():
    alice = make_wallet("100")
    for hours in range(0, 60, 5):
        charge_at(NOON + timedelta(hours=hours), alice, make_call(CREDIT))
    results = at_once(*[lambda: roll_up(timezone.now())] * 4)
    assert all(isinstance(result, int) for result in results)
    roll_up(timezone.now())
    assert UsageTotal.objects.count() == UsageRollup.objects.count() == UsageActivity.objects.count() == 12


def test_a_batch_that_was_rolled_back_left_nothing():
    alice = make_wallet("100")
    charge_at(NOON, alice, make_call(CREDIT))
    with transaction.atomic():
        assert roll_up_batch(timezone.now()) == rolling.BATCH
        assert UsageTotal.objects.count() == 1
        transaction.set_rollback(True)
    assert (UsageTotal.objects.count(), rolled_up_to()) == (0, None)
    roll_up(timezone.now())
    assert UsageTotal.objects.count() == 1
    assert connection.in_atomic_block is False

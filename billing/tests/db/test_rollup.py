"""Rolling up: each event once, again and again, from where it stopped; and a rollup that is wrong is found."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from structlog.testing import capture_logs

from billing import closing, tasks
from billing.models import UsageActivity, UsageMonth, UsageRollup, UsageRollupState, UsageTotal
from billing.rollup import rolling
from billing.rollup.charges import FIRST_SINCE
from billing.rollup.checking import differing_tables, rolled_days
from billing.rollup.rolling import forget, roll_up, roll_up_batch, rolled_up_to
from billing.stored_metrics import stored
from billing.tests.makers import charge, charge_at, make_call, make_wallet
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db

CREDIT = TokenPools(output=10_000)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
TABLES = (UsageRollup, UsageTotal, UsageActivity, UsageMonth)


def everything():
    return [list(model.objects.order_by("pk").values_list()) for model in TABLES]


def command(*arguments):
    out = StringIO()
    try:
        call_command("roll_up_usage", *arguments, stdout=out)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    return 0, out.getvalue()


def samples():
    return {
        sample.name: sample.value
        for metric in stored()
        for sample in metric.samples
        if sample.name.startswith("tallyroom_usage")
    }


def test_a_quarter_holds_the_sums_of_its_events():
    alice = make_wallet("100")
    call = make_call(CREDIT, provider_cost_usd=Decimal("0.006"))
    charge_at(NOON + timedelta(minutes=14, seconds=59), alice, call, make_call(CREDIT, usage_source="estimated"))
    charge_at(NOON + timedelta(minutes=15), alice, make_call(CREDIT))
    roll_up(timezone.now())
    totals = UsageTotal.objects.order_by("start")
    assert list(totals.values_list("start", "calls", "calls_estimated", "credits_charged")) == [
        (NOON, 2, 1, Decimal(2)), (NOON + timedelta(minutes=15), 1, 0, Decimal(1)),
    ]  # fmt: skip
    row = UsageRollup.objects.get(room_id=call.room_id)
    assert (row.start, row.user_id, row.agent_id, row.model_alias, row.purpose) == (
        NOON, alice, call.agent_id, "gpt-4o-mini", "agent",
    )  # fmt: skip
    assert (row.credits_with_cost, row.provider_cost_usd, row.calls_without_cost) == (Decimal(1), Decimal("0.006"), 0)
    assert list(UsageActivity.objects.order_by("start").values_list("start", "seen_before")) == [
        (NOON, None), (NOON + timedelta(minutes=15), NOON),
    ]  # fmt: skip
    months = UsageMonth.objects.filter(subject="user").order_by("model_alias")
    assert list(months.values_list("start", "model_alias", "subject_id", "credits_charged")) == [
        (datetime(2026, 6, 1, tzinfo=UTC), "*", alice, Decimal(3)),
        (datetime(2026, 6, 1, tzinfo=UTC), "gpt-4o-mini", alice, Decimal(3)),
    ]


def test_what_is_not_over_is_left_to_the_events(monkeypatch):
    alice = make_wallet("100")
    assert roll_up(timezone.now()) == 0
    charge(alice, CREDIT)
    assert roll_up(timezone.now()) == 0
    assert everything() == [[], [], [], []]
    monkeypatch.setattr(closing, "MARGIN_S", 10**8)
    charge_at(NOON, alice, make_call(CREDIT))
    assert roll_up(timezone.now()) == 0
    assert everything() == [[], [], [], []]


def test_a_worker_whose_clock_is_ahead_rolls_up_nothing_that_is_not_over():
    """The database's clock says what is over: it is the one that events have their times from."""
    alice = make_wallet("100")
    charge(alice, CREDIT)
    assert roll_up(timezone.now() + timedelta(days=3)) == 0
    charge_at(NOON, alice, make_call(CREDIT))
    roll_up(timezone.now() + timedelta(days=3))
    assert rolled_up_to() <= timezone.now() - timedelta(seconds=closing.MARGIN_S)
    assert [row.start for row in UsageRollup.objects.all()] == [NOON]


def test_a_second_run_adds_what_is_new_and_no_event_twice():
    alice = make_wallet("100")
    charge_at(NOON, alice, make_call(CREDIT))
    first = NOON + timedelta(hours=1)
    # The clock of that day: the batches end where it was.
    assert roll_up(first + timedelta(seconds=closing.MARGIN_S)) >= 1
    before = everything()
    assert rolled_up_to() == first
    assert roll_up(first + timedelta(seconds=closing.MARGIN_S)) == 0
    assert everything() == before
    charge_at(first, alice, make_call(CREDIT))
    assert roll_up(timezone.now()) >= 1
    assert UsageTotal.objects.count() == 2
    assert differing_tables(NOON.date()) == []


def test_what_stopped_in_the_middle_goes_on_after_its_last_batch():
    alice = make_wallet("100")
    for days in (0, 1, 40):
        charge_at(NOON + timedelta(days=days), alice, make_call(CREDIT))
    assert roll_up_batch(timezone.now()) == rolling.BATCH
    assert rolled_up_to() == NOON + rolling.BATCH
    roll_up(timezone.now())
    assert [row.calls for row in UsageTotal.objects.order_by("start")] == [1, 1, 1]
    assert [differing_tables(day) for day in rolled_days(last=None)] == [[]] * len(rolled_days(last=None))


def test_a_time_without_events_is_passed_at_once():
    alice = make_wallet("100")
    charge_at(NOON - timedelta(days=800), alice, make_call(CREDIT))
    charge_at(NOON, alice, make_call(CREDIT))
    assert roll_up(timezone.now()) < 60


def test_forgetting_a_day_and_rolling_it_up_again_gives_the_same():
    alice, bob = make_wallet("100"), make_wallet("100")
    for days in range(-45, 46, 9):
        charge_at(NOON + timedelta(days=days), alice, make_call(CREDIT))
        charge_at(NOON + timedelta(days=days, minutes=20), bob, make_call(CREDIT), make_call(CREDIT))
    roll_up(timezone.now())

    def without_ids():
        return [sorted(tuple(map(str, row[1:])) for row in rows) for rows in everything()]

    before = without_ids()
    forget(NOON)
    assert rolled_up_to() == NOON
    assert UsageRollup.objects.filter(start__gte=NOON).count() == 0
    roll_up(timezone.now())
    assert without_ids() == before


@pytest.mark.parametrize(
    ("model", "fields", "table"),
    [
        (UsageRollup, {"credits_charged": Decimal("1.00000001")}, "usage_rollups"),
        (UsageTotal, {"output_tokens": 1}, "usage_rollup_totals"),
        (UsageActivity, {"start": NOON + timedelta(hours=1)}, "usage_rollup_activity"),
        (UsageMonth, {"calls": 5}, "usage_rollup_months"),
    ],
)
def test_a_day_that_is_not_what_its_events_come_to_is_found_told_and_repaired(model, fields, table):
    alice = make_wallet("100")
    last_of_june = datetime(2026, 6, 30, 12, tzinfo=UTC)
    charge_at(last_of_june, alice, make_call(CREDIT))
    roll_up(timezone.now())
    assert command("--check")[0] == 0
    model.objects.update(**fields)
    code, report = command("--check")
    assert code == 1
    assert f"2026-06-30 differs in {table}" in report
    state = UsageRollupState.objects.get()
    assert state.days_differing == 1
    assert samples()["tallyroom_usage_rollup_days_differing"] == 1
    code, report = command("--from", "2026-06-30", "--check")
    assert (code, samples()["tallyroom_usage_rollup_days_differing"]) == (0, 0)
    assert report.endswith("days checked, 0 differ\n")


def test_an_event_that_came_late_is_found():
    alice = make_wallet("100")
    charge_at(NOON, alice, make_call(CREDIT))
    roll_up(timezone.now())
    charge_at(NOON, alice, make_call(CREDIT))
    assert differing_tables(date(2026, 6, 10)) == ["usage_rollups", "usage_rollup_totals"]


def test_the_beat_rolls_up_and_checks_the_last_month_and_logs_what_differs():
    alice = make_wallet("100")
    yesterday = timezone.now() - timedelta(days=1)
    charge_at(yesterday, alice, make_call(CREDIT))
    assert samples() == {}
    assert tasks.roll_up_usage() >= 1
    assert tasks.check_usage_rollup() == 0
    assert samples()["tallyroom_usage_rollup_days_checked"] == 1
    assert samples()["tallyroom_usage_rolled_up_to_timestamp_seconds"] == rolled_up_to().timestamp()
    UsageTotal.objects.update(credits_charged=2)
    with capture_logs() as logs:
        assert tasks.check_usage_rollup() == 1
    found = [line for line in logs if line["event"] == "usage_rollup_differs"]
    assert [(line["day"], line["tables"], line["log_level"]) for line in found] == [
        (str(yesterday.date()), ["usage_rollup_totals"], "error")
    ]


def test_where_the_next_batch_begins_is_read_off_two_indexes():
    charge(make_wallet("100"), CREDIT)
    with connection.cursor() as cursor:
        # In a table of one row any index will do, and this one has the column, too.
        cursor.execute("DROP INDEX event_user_created")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN {FIRST_SINCE}", {"since": NOON})
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert [line.split(" using ")[1].split(" on ")[0] for line in plan.splitlines() if " using " in line] == [
        "event_created", "tool_calls_charged",
    ], plan  # fmt: skip
    assert plan.count("Limit") == 2, plan

"""Each closed day's credits against its cost: summed up once, judged, shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from structlog.testing import capture_logs

from billing import tasks
from billing.costs import LOOK_BACK_DAYS, compare_day, compare_missed, newest_closed_day
from billing.models import CostDay, CostFinding, LLMCallEvent
from billing.stored_metrics import stored
from billing.tests.db.test_invariants import damage
from billing.tests.makers import make_call, make_hold, make_wallet, settle
from pricing import cache
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db

CREDIT = TokenPools(output=10_000)
NOTHING = TokenPools()
DAY = date(2026, 3, 1)
NOON = time(12, tzinfo=UTC)
# The night after DAY.
NIGHT = datetime(2026, 3, 2, 0, 41, tzinfo=UTC)


def bill(user_id, *calls, day=DAY, at=NOON, hold="100"):
    """A turn with these calls, settled as if it had been then."""
    reference = make_hold(user_id, hold, enforcement="off")
    calls = [replace(call, turn_id=reference.id, call_index=index) for index, call in enumerate(calls, 1)]
    settle(user_id, reference, *calls)
    for call in calls:
        damage(
            "UPDATE llm_call_events SET created_at = %(at)s WHERE id = %(id)s",
            at=datetime.combine(day, at), id=call.event_id,
        )  # fmt: skip


def cost(usd, pools=CREDIT, **fields):
    """A call that cost its provider so much, or nobody knows how much."""
    return make_call(pools, provider_cost_usd=None if usd is None else Decimal(usd), **fields)


def rows(**where):
    columns = ("provider", "model_alias", "calls", "credits_charged", "credits_with_cost", "provider_cost_usd",
               "calls_without_cost", "calls_lost", "charges_above_hold")  # fmt: skip
    return list(CostDay.objects.filter(**where).order_by("day", "provider", "model_alias").values_list(*columns))


def findings(**where):
    return list(CostFinding.objects.filter(**where).order_by("day", "kind").values_list("kind", "model_alias"))


def compared(*arguments):
    out = StringIO()
    try:
        call_command("compare_costs", *arguments, stdout=out)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    return 0, out.getvalue()


def test_a_day_is_summed_up_by_provider_and_alias_over_all_users():
    alice, bob = make_wallet("100"), make_wallet("100")
    bill(alice, cost("0.00000001"), cost("0.5", alias="gpt-4o"))
    bill(bob, cost("0.25"), cost(None), cost("1", provider="azure"))
    assert compare_missed(NIGHT) == [DAY]
    assert rows(day=DAY) == [
        ("azure", "gpt-4o-mini", 1, Decimal(1), Decimal(1), Decimal(1), 0, 0, 0),
        ("default", "gpt-4o", 1, Decimal(2), Decimal(2), Decimal("0.5"), 0, 0, 0),
        ("default", "gpt-4o-mini", 3, Decimal(3), Decimal(2), Decimal("0.25000001"), 1, 0, 0),
    ]


def test_lost_calls_and_charges_above_their_hold_are_counted():
    alice = make_wallet("100")
    lost = [
        cost("0", NOTHING, status="error", usage_source="none", usage_flags=("process_died",)) for _ in range(2)
    ]  # fmt: skip
    bill(alice, cost("0.5"), cost("0.5"), *lost, hold="1")
    compare_missed(NIGHT)
    assert rows() == [("default", "gpt-4o-mini", 4, Decimal(2), Decimal(2), Decimal(1), 0, 2, 1)]


def test_a_day_begins_at_midnight_utc_and_ends_before_the_next():
    alice = make_wallet("100")
    for day, at in (
        (DAY - timedelta(days=1), time(23, 59, 59, 999999, UTC)),
        (DAY, time(0, tzinfo=UTC)),
        (DAY, time(23, 59, 59, 999999, UTC)),
        (DAY + timedelta(days=1), time(0, tzinfo=UTC)),
    ):
        bill(alice, cost("0.1"), day=day, at=at)
    assert compare_missed(NIGHT) == [DAY - timedelta(days=1), DAY]
    assert [row[2] for row in rows()] == [1, 2]


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        (datetime(2026, 3, 2, 0, 14, 59, tzinfo=UTC), date(2026, 2, 28)),
        (datetime(2026, 3, 2, 0, 15, tzinfo=UTC), DAY),
        (datetime(2026, 3, 1, 18, 20, tzinfo=UTC), date(2026, 2, 28)),
    ],
)
def test_a_day_is_closed_a_quarter_of_an_hour_after_its_end(now, newest):
    assert newest_closed_day(now) == newest


def test_a_second_run_writes_nothing():
    alice = make_wallet("100")
    bill(alice, cost(None))
    compare_missed(NIGHT)
    before = list(CostDay.objects.values()), list(CostFinding.objects.values())
    assert compare_missed(NIGHT) == []
    assert (list(CostDay.objects.values()), list(CostFinding.objects.values())) == before


def test_missed_days_of_the_last_month_are_caught_up_and_older_ones_are_left():
    alice = make_wallet("100")
    oldest = DAY - timedelta(days=LOOK_BACK_DAYS - 1)
    for day in (oldest - timedelta(days=1), oldest, DAY - timedelta(days=5)):
        bill(alice, cost("0.1"), day=day)
    assert compare_missed(NIGHT) == [oldest, DAY - timedelta(days=5)]
    assert set(CostDay.objects.values_list("day", flat=True)) == {oldest, DAY - timedelta(days=5)}


def test_a_day_without_calls_stores_nothing():
    assert compare_missed(NIGHT) == []
    assert compare_day(DAY) is False
    assert (rows(), findings()) == ([], [])


def test_unknown_rates_are_found_and_an_explicit_zero_is_not():
    alice = make_wallet("100")
    price = cache.current().find("gpt-4o-mini")
    rates = {"provider_input_usd_per_mtok": None, "provider_output_usd_per_mtok": None}
    unknown = replace(price, **rates).provider_cost_usd(CREDIT)
    free = replace(price, **dict.fromkeys(rates, Decimal(0))).provider_cost_usd(CREDIT)
    bill(alice, cost(unknown), cost(free, alias="gpt-4o"))
    compare_missed(NIGHT)
    assert findings() == [("cost_unknown", "gpt-4o-mini")]
    assert "1 calls charged 1.00000000 credits" in CostFinding.objects.get().detail


def test_calls_that_cost_and_were_charged_nothing_are_found_by_status():
    alice = make_wallet("100")
    bill(
        alice, cost("0.5"), cost("0.02", NOTHING, status="error"), cost("0.03", NOTHING, status="error"),
        cost("0.1", NOTHING, status="timeout"), cost("0", NOTHING, status="error"),
    )  # fmt: skip
    compare_missed(NIGHT)
    assert findings() == [("cost_without_credits", "gpt-4o-mini")]
    assert CostFinding.objects.get().detail == (
        "calls that cost 0.15000000 USD and no credits: error: 2, timeout: 1"
    )  # fmt: skip


def test_below_cost_is_judged_only_where_somebody_said_what_a_credit_is_worth(settings):
    alice = make_wallet("100")
    bill(alice, cost("0.02"), cost("0.01", alias="gpt-4o"))
    compare_missed(NIGHT)
    assert findings() == []
    settings.CREDIT_USD_VALUE = Decimal("0.01")
    compare_day(DAY)
    assert findings() == [("below_cost", "gpt-4o-mini")]
    settings.CREDIT_USD_VALUE = Decimal("0.02")
    compare_day(DAY)
    assert findings() == []
    assert len(rows()) == 2


def a_week_of_calls(alice, *, last_usd, **last):
    """Twenty calls a day, 10 credits a USD, and a last day that differs."""
    for ago in (3, 2, 1):
        bill(alice, *[cost("0.1") for _ in range(20)], day=DAY - timedelta(days=ago))
    bill(alice, *[cost(last_usd, **last) for _ in range(20)])


@pytest.mark.parametrize(("usd", "found"), [("0.1", []), ("0.15", []), ("0.3", [("drift", "gpt-4o-mini")])])
def test_a_rate_that_moves_against_the_days_before_is_found(usd, found):
    alice = make_wallet("100")
    a_week_of_calls(alice, last_usd=usd)
    assert len(compare_missed(NIGHT)) == 4
    assert findings() == found


def test_an_alias_that_moves_to_a_dearer_provider_drifts_too():
    alice = make_wallet("100")
    a_week_of_calls(alice, last_usd="0.3", provider="azure")
    compare_missed(NIGHT)
    assert list(CostFinding.objects.values_list("day", "kind", "provider", "detail")) == [
        (DAY, "drift", "azure", "3.3333 credits a USD; the median of the days before is 10.0000")
    ]


def samples():
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in stored()
        for sample in metric.samples
        if sample.name.startswith("tallyroom_cost")
    }


def test_before_any_day_was_compared_there_are_no_findings_and_no_day():
    kinds = ("cost_unknown", "cost_without_credits", "below_cost", "drift")
    assert samples() == {("tallyroom_cost_findings", kind): 0 for kind in kinds}


def test_a_scrape_shows_the_newest_day(django_assert_num_queries):
    alice = make_wallet("100")
    bill(alice, cost(None), cost("0.25"), cost("0.5", provider="azure"), cost("2", alias="gpt-4o"))
    bill(alice, cost("7", NOTHING), day=DAY - timedelta(days=1))
    compare_missed(NIGHT)
    with django_assert_num_queries(6):
        found = samples()
    assert found == {
        ("tallyroom_cost_credits", "gpt-4o-mini"): 3.0,
        ("tallyroom_cost_credits", "gpt-4o"): 2.0,
        ("tallyroom_cost_usd", "gpt-4o-mini"): 0.75,
        ("tallyroom_cost_usd", "gpt-4o"): 2.0,
        ("tallyroom_cost_findings", "cost_unknown"): 1,
        ("tallyroom_cost_findings", "cost_without_credits"): 0,
        ("tallyroom_cost_findings", "below_cost"): 0,
        ("tallyroom_cost_findings", "drift"): 0,
        ("tallyroom_cost_day_timestamp_seconds",): datetime(2026, 3, 1, tzinfo=UTC).timestamp(),
    }


def test_the_beat_logs_each_finding_of_the_days_it_compared():
    alice = make_wallet("100")
    yesterday = newest_closed_day()
    bill(alice, cost(None), cost("0.5"), day=yesterday)
    with capture_logs() as logs:
        assert tasks.compare_costs() == 1
        assert tasks.compare_costs() == 0
    found = [line for line in logs if line["event"] == "cost_finding"]
    assert [(line["kind"], line["day"], line["log_level"]) for line in found] == [
        ("cost_unknown", str(yesterday), "warning")
    ]


def test_the_command_prints_yesterday_and_exits_1_on_findings():
    alice = make_wallet("100")
    yesterday = newest_closed_day()
    assert compared() == (0, f"{yesterday}: no calls\nno findings\n")
    bill(alice, cost("0.5"), day=yesterday)
    assert compared() == (0, (
        f"{yesterday}\n"
        "  provider  alias        calls     credits    cost USD  no cost  lost  above hold\n"
        "  default   gpt-4o-mini      1  1.00000000  0.50000000        0     0           0\n"
        "no findings\n"
    ))  # fmt: skip
    bill(alice, cost(None), day=DAY)
    code, report = compared("--day", str(DAY))
    assert code == 1
    assert report.splitlines()[-2:] == [
        "  cost_unknown default/gpt-4o-mini: 1 calls charged 1.00000000 credits; their cost is not known",
        "1 findings: see docs/runbook.md",
    ]


def test_a_day_that_is_not_over_is_refused_and_nothing_is_stored():
    alice = make_wallet("100")
    today = newest_closed_day() + timedelta(days=1)
    bill(alice, cost("0.5"), day=today)
    with pytest.raises(CommandError, match=f"{today} is not over yet"):
        call_command("compare_costs", "--day", str(today))
    with pytest.raises(CommandError, match="invalid"):
        call_command("compare_costs", "--day", "yesterday")
    assert rows() == []
    assert LLMCallEvent.objects.count() == 1

"""Reports equal a sum over the events: in every zone, on days on which clocks change, rolled up or not."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from billing.models import UsageMonth, UsageRollup
from billing.reports.active_users import active_users
from billing.reports.buckets import bucket_starts
from billing.reports.undebited import calls_without_debit
from billing.reports.usage import UsageQuery, usage_report
from billing.rollup import rolling
from billing.rollup.charges import MEASURES
from billing.rollup.rolling import forget, roll_up
from billing.tests import usage_oracle as oracle
from billing.tests.db.test_invariants import damage
from billing.tests.makers import charge_at, make_call, make_direct_call, make_wallet
from config.core.ids import uuid7
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db

CREDIT = TokenPools(output=10_000)
ZONES = ["UTC", "Asia/Kathmandu", "America/Los_Angeles", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia"]
# Clocks go forward on 8 March and back on 1 November in Los Angeles, by half an hour on 5 April on Lord Howe, and at
# midnight on 24 April in Cairo. Samoa went from 29 to 31 December 2011.
CHANGES = [
    datetime(2026, 3, 8, 10, tzinfo=UTC),
    datetime(2026, 11, 1, 9, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 4, 23, 22, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
]
UNROLLED, HALF, ROLLED = "unrolled", "half", "rolled"


def roll(state, middle):
    """Nothing, what lies before a time, or all that is over."""
    if state != UNROLLED:
        roll_up(timezone.now())
    if state == HALF:
        forget(middle)
        assert rolling.rolled_up_to() == rolling.quarter_of(middle)


def history(middle, *, days=3, turns=40, seed=1):
    """alice, bob and carol around a time: some on the quarter, some a microsecond before it, most anywhere."""
    dice = random.Random(seed)
    people = [make_wallet("1000") for _ in range(3)]
    rooms = {user_id: [uuid7(), uuid7()] for user_id in people}
    agents = {user_id: [uuid7(), uuid7()] for user_id in people}
    for number in range(turns):
        at = middle + timedelta(seconds=dice.uniform(-days * 86_400, days * 86_400))
        if number % 6 == 0:
            at = rolling.quarter_of(at) - timedelta(microseconds=number % 12 // 6)
        user_id = dice.choice(people)
        room_id, session_id = dice.choice(rooms[user_id]), uuid7()
        calls = [
            make_call(
                TokenPools(dice.randint(0, 900), dice.randint(0, 900), dice.randint(0, 90), dice.randint(1, 2_000)),
                alias=dice.choice(["gpt-4o-mini", "gemini-flash", "deepseek"]), room_id=room_id, session_id=session_id,
                agent_id=dice.choice(agents[user_id]), purpose=dice.choice(["agent", "router"]),
                usage_source=dice.choice(["provider", "estimated", "partial"]),
                provider_cost_usd=dice.choice([None, Decimal("0.00012345"), Decimal(0)]),
            )
            for _ in range(dice.randint(1, 3))
        ]  # fmt: skip
        charge_at(at, user_id, *calls)
        if number % 9 == 0:
            charge_at(at + timedelta(minutes=1), user_id, make_direct_call(TokenPools(output=dice.randint(1, 99))))
    return people


def test_the_numbers_of_a_few_events():
    alice, bob = make_wallet("100"), make_wallet("100")
    at = datetime(2026, 5, 4, 12, 7, tzinfo=UTC)
    charge_at(
        at, alice,
        make_call(TokenPools(120, 40, 10, 80), alias="gpt-4o", provider_cost_usd=Decimal("0.00125000")),
        make_call(CREDIT, usage_source="estimated"),
    )  # fmt: skip
    charge_at(at + timedelta(days=1), bob, make_direct_call(CREDIT, provider_cost_usd=Decimal("0.006")))
    query = UsageQuery(start=at, end=at + timedelta(days=2), tz=ZoneInfo("UTC"), group_by=("user",))
    report = usage_report(query, limit=1)
    assert report["totals"] == {
        "calls": 3, "calls_estimated": 1, "calls_without_cost": 1, "input_tokens_fresh": 130,
        "input_tokens_cached": 40, "output_tokens": 20_080, "oe_tokens": Decimal("20129.5000"),
        "credits_burned": Decimal("2.0259"), "credits_charged": Decimal("2.02590000"),
        "credits_estimated": Decimal("1.00000000"), "credits_with_cost": Decimal("1.02590000"),
        "provider_cost_usd": Decimal("0.00725000"),
    }  # fmt: skip
    assert [(row["start"].isoformat(), row["calls"]) for row in report["buckets"]] == [
        ("2026-05-04T00:00:00+00:00", 2), ("2026-05-05T00:00:00+00:00", 1),
    ]  # fmt: skip
    assert [(row["user"], row["credits_charged"]) for row in report["breakdown"]] == [(alice, Decimal("1.02590000"))]
    assert report["others"]["credits_charged"] == Decimal("1.00000000")


@pytest.mark.parametrize("state", [UNROLLED, HALF, ROLLED])
@pytest.mark.parametrize("middle", CHANGES, ids=["forward", "back", "half-an-hour", "midnight", "no-day"])
def test_buckets_are_what_clocks_and_calendars_say_and_add_up_to_the_events(middle, state):
    history(middle)
    roll(state, middle)
    start, end = middle - timedelta(days=2, minutes=7), middle + timedelta(days=2, seconds=11)
    events = oracle.events_of(start, end)
    assert len(events) > 30
    for name in ZONES:
        tz = ZoneInfo(name)
        for bucket in ("hour", "day", "week", "month"):
            report = usage_report(UsageQuery(start=start, end=end, tz=tz, bucket=bucket))
            assert report["totals"] == oracle.added_up(events)
            expected = oracle.grouped(events, lambda e: oracle.local_bucket(e.created_at, tz, bucket))  # noqa: B023
            inside = [max(row["start"], start) for row in report["buckets"]]
            assert [oracle.local_bucket(time, tz, bucket) for time in inside] == sorted(
                expected, key=lambda key: min(
                    e.created_at for e in events if oracle.local_bucket(e.created_at, tz, bucket) == key  # noqa: B023
                ),
            )  # fmt: skip
            assert oracle.of_report(report["buckets"]) == [
                expected[oracle.local_bucket(time, tz, bucket)] for time in inside
            ]  # fmt: skip


@pytest.mark.parametrize("state", [UNROLLED, HALF, ROLLED])
@pytest.mark.parametrize(
    "group_by",
    [("model_alias",), ("purpose",), ("user",), ("room",), ("agent",), ("session",), ("user", "model_alias"),
     ("agent", "model_alias"), ("room", "purpose"), ("user", "room", "agent", "model_alias", "purpose")],
    ids="-".join,
)  # fmt: skip
def test_groups_are_what_the_events_come_to_with_and_without_a_limit(group_by, state):
    middle = datetime(2026, 9, 1, 3, tzinfo=UTC)
    people = history(middle, days=60)
    roll(state, middle)
    # More than half of a month at each end, which months less their other days stand for.
    start, end = middle - timedelta(days=52), middle + timedelta(days=50)
    for where in ({}, {"user_id": people[0]}, {"model_alias": "gemini-flash"}):
        events = oracle.events_of(start, end, **where)
        expected = oracle.by_group(events, *group_by)
        query = UsageQuery(start=start, end=end, tz=ZoneInfo("UTC"), group_by=group_by, **where)
        whole = usage_report(query)
        found = {tuple(row[name] for name in group_by): row for row in whole["breakdown"]}
        assert {key: {name: row[name] for name in MEASURES} for key, row in found.items()} == expected
        assert whole["others"] is None
        few = usage_report(query, limit=2)
        assert few["breakdown"] == whole["breakdown"][:2]
        left = [key for key in found if key not in {tuple(row[name] for name in group_by) for row in few["breakdown"]}]
        rest = [event for event in events if tuple(getattr(event, oracle.GROUPS[name]) for name in group_by) in left]
        assert few["others"] == (oracle.added_up(rest) if rest else None)


@pytest.mark.parametrize("state", [UNROLLED, HALF, ROLLED])
@pytest.mark.parametrize("name", ZONES)
def test_each_user_is_counted_once_in_each_bucket_and_once_in_all(name, state):
    middle, tz = CHANGES[1], ZoneInfo(name)
    people = history(middle)
    roll(state, middle)
    start, end = middle - timedelta(days=2, minutes=7), middle + timedelta(days=2, seconds=11)
    for where in ({}, {"user_id": people[0]}, {"model_alias": "deepseek"}, {"user_id": uuid7()}):
        events = oracle.events_of(start, end, **where)
        for bucket in ("hour", "day", "week", "month"):
            users = {}
            for event in events:
                users.setdefault(oracle.local_bucket(event.created_at, tz, bucket), set()).add(event.user_id)
            found = active_users(UsageQuery(start=start, end=end, tz=tz, bucket=bucket, **where))
            assert found["active_users"] == len({event.user_id for event in events})
            assert {
                oracle.local_bucket(max(row["start"], start), tz, bucket): row["active_users"]
                for row in found["buckets"]
            } == {key: len(members) for key, members in users.items()}


def test_months_that_are_rolled_up_are_read_by_month():
    """The fast way is taken: what is added to a month's sum shows in the report, and nowhere else."""
    alice = make_wallet("100")
    charge_at(datetime(2026, 6, 10, tzinfo=UTC), alice, make_call(CREDIT))
    roll_up(timezone.now())
    assert UsageMonth.objects.filter(subject="user", model_alias="*").count() == 1
    UsageMonth.objects.update(credits_charged=Decimal(7))
    query = UsageQuery(
        start=datetime(2026, 5, 20, tzinfo=UTC), end=timezone.now(), tz=ZoneInfo("UTC"), group_by=("user",)
    )  # fmt: skip
    report = usage_report(query, limit=10)
    assert report["breakdown"][0]["credits_charged"] == Decimal(7)
    assert report["totals"]["credits_charged"] == Decimal(1)


def test_nothing_happened():
    now = timezone.now()
    report = usage_report(UsageQuery(start=now, end=now, tz=ZoneInfo("UTC")), limit=5)
    assert report["totals"] == oracle.added_up([])
    assert (report["breakdown"], report["buckets"], report["others"]) == ([], [], None)
    assert active_users(UsageQuery(start=now, end=now, tz=ZoneInfo("UTC"))) == {"active_users": 0, "buckets": []}


@pytest.mark.parametrize(
    ("tz", "start", "first"),
    [
        # Midnight was skipped: the day begins at one.
        ("America/Santiago", "2026-09-06T12:00-03:00", "2026-09-06T01:00-03:00"),
        # Two midnights: the first.
        ("America/Havana", "2026-11-01T12:00-05:00", "2026-11-01T00:00-04:00"),
        ("Asia/Kathmandu", "2026-05-01T00:00+05:45", "2026-05-01T00:00+05:45"),
    ],
)  # fmt: skip
def test_a_day_begins_when_its_clocks_first_show_it(tz, start, first):
    time = datetime.fromisoformat(start)
    starts = bucket_starts(start=time, end=time + timedelta(hours=1), tz=ZoneInfo(tz), bucket="day")
    assert starts == [datetime.fromisoformat(first)]


@pytest.mark.parametrize(
    ("tz", "first", "last", "days"),
    [
        ("Pacific/Apia", "2011-12-28", "2012-01-02", ["28", "29", "31", "01"]),
        ("Pacific/Kwajalein", "1993-08-19", "1993-08-23", ["19", "20", "22"]),
        ("Asia/Manila", "1844-12-29", "1845-01-02", ["29", "30", "01"]),
    ],
)  # fmt: skip
def test_a_day_that_a_zone_left_out_is_no_bucket(tz, first, last, days):
    zone = ZoneInfo(tz)
    start, end = (datetime.fromisoformat(day).replace(tzinfo=zone) for day in (first, last))
    starts = bucket_starts(start=start, end=end, tz=zone, bucket="day")
    assert [f"{begin.astimezone(zone):%d %H:%M}" for begin in starts] == [f"{day} 00:00" for day in days]


@pytest.mark.breaks_the_ledger
@pytest.mark.parametrize("state", [UNROLLED, ROLLED])
def test_a_charged_call_without_its_debit_is_counted_and_named(state):
    alice = make_wallet("100")
    at = datetime(2026, 6, 10, 12, tzinfo=UTC)
    lost = make_call(CREDIT)
    charge_at(at, alice, lost, make_call(CREDIT))
    charge_at(at, alice, make_call(TokenPools()))
    query = UsageQuery(start=at, end=at + timedelta(hours=1), tz=ZoneInfo("UTC"))
    assert calls_without_debit(query) == (0, [])
    damage("DELETE FROM credit_transactions WHERE event_id = %(id)s", id=lost.event_id)
    roll(state, at)
    found, rows = calls_without_debit(query)
    assert (found, [row["event_id"] for row in rows]) == (1, [lost.event_id])
    assert UsageRollup.objects.exists() is (state == ROLLED)

"""Spending limits in the money path: per room, agent, key and user, per day and month of a time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection

from billing import ledger
from billing.errors import SpendingLimitReached
from billing.invariants import check_wallets
from billing.ledger import Place
from billing.ledger.limits import period_of
from billing.limits import services, subjects
from billing.models import CreditHold, CreditWallet, SpendingLimit
from billing.tests.makers import credits, make_call, make_hold, make_wallet, settle, share
from config.core.errors import NotFound, ValidationFailed
from config.core.ids import uuid7

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def everything_is_ones_own(monkeypatch):
    monkeypatch.setattr(subjects, "is_of_user", lambda *_, **__: True)
    monkeypatch.setattr(services, "is_of_user", lambda *_, **__: True)


def limit(user_id, subject, subject_id, amount, *, period="day", **fields):
    fields = {"tz": "UTC", "set_by": "test", **fields}
    return services.create(
        user_id=user_id, subject=subject, subject_id=subject_id, period=period, amount=credits(amount), **fields
    )


def run(user_id, *, place=Place(), agent_id=None, held="0", calls=1):
    """A piece of work of one credit a call, settled."""
    reference = make_hold(user_id, held, enforcement="off", place=place, agent_id=agent_id)
    made = [
        make_call(
            turn_id=reference.id, call_index=index, room_id=place.room_id or uuid7(), agent_id=agent_id or uuid7()
        )
        for index in range(1, calls + 1)
    ]
    return settle(user_id, reference, *made)


def spent(row):
    row.refresh_from_db()
    return row.spent


def place_of(subject, subject_id):
    return {"room": Place(room_id=subject_id), "api_key": Place(api_key_id=subject_id)}.get(subject, Place())


@pytest.mark.parametrize("subject", ["room", "agent", "api_key", "user"])
@pytest.mark.parametrize("mode", ["off", "warn", "hard"])
def test_a_limit_refuses_what_would_pass_it_in_every_mode(subject, mode):
    user_id = make_wallet("100")
    subject_id = user_id if subject == "user" else uuid7()
    row = limit(user_id, subject, subject_id, "2")
    of_it = {"place": place_of(subject, subject_id), "agent_id": subject_id if subject == "agent" else None}
    run(user_id, **of_it)
    assert spent(row) == Decimal(1)
    with pytest.raises(SpendingLimitReached) as refusal:
        make_hold(user_id, "1.00000001", enforcement=mode, **of_it)
    shown = refusal.value.members
    assert (shown["limit"], shown["spent"], shown["held"], shown["required"]) == (
        "2.00000000", "1.00000000", "0.00000000", "1.00000001",
    )  # fmt: skip
    assert (shown["subject"], shown["subject_id"], shown["limit_id"]) == (subject, str(subject_id), str(row.id))
    assert CreditHold.objects.filter(user_id=user_id, status="open").count() == 0
    make_hold(user_id, "1", enforcement=mode, **of_it)


def test_what_is_held_counts_so_that_two_cannot_pass_it_together():
    user_id, room = make_wallet("100"), uuid7()
    limit(user_id, "room", room, "2")
    make_hold(user_id, "1.5", place=Place(room_id=room))
    with pytest.raises(SpendingLimitReached) as refusal:
        make_hold(user_id, "1", place=Place(room_id=room))
    assert refusal.value.members["held"] == "1.50000000"
    assert CreditWallet.objects.get(user_id=user_id).held == Decimal("1.5")


def test_other_rooms_agents_and_people_are_not_capped():
    alice, bob, room = make_wallet("100"), make_wallet("100"), uuid7()
    row = limit(alice, "room", room, "1")
    run(alice, place=Place(room_id=uuid7()), calls=3)
    run(bob, place=Place(room_id=room), calls=3)
    assert spent(row) == 0
    make_hold(alice, "50", place=Place(room_id=uuid7()))


def test_a_turn_is_stopped_between_calls():
    user_id, agent = make_wallet("100"), uuid7()
    limit(user_id, "agent", agent, "2")
    reference = make_hold(user_id, "1", agent_id=agent)
    next_call = [share("1", agent_id=agent), share("1.5", agent_id=agent)]
    with pytest.raises(SpendingLimitReached):
        ledger.extend_hold(user_id=user_id, reference=reference, shares=next_call, enforcement="off")
    assert CreditHold.objects.get(reference_id=reference.id).amount == Decimal(1)
    another = [share("1", agent_id=agent), share("50", agent_id=uuid7())]
    ledger.extend_hold(user_id=user_id, reference=reference, shares=another, enforcement="off")
    assert CreditHold.objects.get(reference_id=reference.id).amount == Decimal(51)


def test_a_limit_begins_with_what_was_charged_before():
    user_id, room, key = make_wallet("100"), uuid7(), uuid7()
    run(user_id, place=Place(room, key), calls=2)
    run(user_id, calls=4)
    assert limit(user_id, "room", room, "9").spent == Decimal(2)
    assert limit(user_id, "api_key", key, "9").spent == Decimal(2)
    assert limit(user_id, "user", user_id, "9", period="month").spent == Decimal(6)


def test_a_new_day_begins_at_nothing():
    user_id, room = make_wallet("100"), uuid7()
    row = limit(user_id, "room", room, "1")
    run(user_id, place=Place(room_id=room))
    with pytest.raises(SpendingLimitReached):
        make_hold(user_id, "0.1", place=Place(room_id=room))
    # As it will be tomorrow: the period that was counted is yesterday's.
    SpendingLimit.objects.filter(id=row.id).update(period_start="2020-01-01T00:00:00Z")
    reference = make_hold(user_id, "1", place=Place(room_id=room))
    settle(user_id, reference, make_call(turn_id=reference.id, room_id=room))
    assert spent(row) == Decimal(1)
    [status] = services.status_of(user_id)
    assert (status.spent, status.held) == (Decimal(1), Decimal(0))
    # In truth both calls are of today: for the check that follows each test.
    SpendingLimit.objects.filter(id=row.id).update(spent=credits("2"))


def test_an_event_says_which_key_was_shown():
    user_id, key = make_wallet("100"), uuid7()
    run(user_id, place=Place(api_key_id=key))
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key_id FROM llm_call_events WHERE user_id = %s", [user_id])
        assert cursor.fetchall() == [(key,)]


def test_the_second_limit_of_its_kind_is_refused_and_the_staffs_is_another():
    user_id, room = make_wallet("1"), uuid7()
    limit(user_id, "room", room, "1")
    with pytest.raises(ValidationFailed):
        limit(user_id, "room", room, "2")
    limit(user_id, "room", room, "2", is_staff_set=True)
    limit(user_id, "room", room, "2", period="month")
    assert SpendingLimit.objects.filter(user_id=user_id).count() == 3


def test_a_wallet_without_limits_is_not_asked_for_them():
    user_id, room = make_wallet("5"), uuid7()
    row = limit(user_id, "room", room, "1")
    assert CreditWallet.objects.get(user_id=user_id).has_limits is True
    services.delete(row, deleted_by="test")
    assert CreditWallet.objects.get(user_id=user_id).has_limits is False
    make_hold(user_id, "5", place=Place(room_id=room))


def test_a_changed_limit_counts_from_the_next_call():
    user_id, room = make_wallet("9"), uuid7()
    row = limit(user_id, "room", room, "1")
    services.change(row, amount=credits("3"), set_by="test")
    make_hold(user_id, "3", place=Place(room_id=room))


def test_a_subject_of_somebody_else_is_not_found(monkeypatch):
    monkeypatch.setattr(services, "is_of_user", lambda *_, **__: False)
    user_id = make_wallet("9")
    with pytest.raises(NotFound):
        limit(user_id, "room", uuid7(), "1")
    assert CreditWallet.objects.get(user_id=user_id).has_limits is False


@pytest.mark.parametrize(
    ("period", "tz", "now", "begin", "end"),
    [
        ("day", "UTC", "2026-03-01T00:00:00", "2026-03-01T00:00:00", "2026-03-02T00:00:00"),
        ("day", "UTC", "2026-02-28T23:59:59", "2026-02-28T00:00:00", "2026-03-01T00:00:00"),
        ("day", "Asia/Kathmandu", "2026-03-01T18:14:59", "2026-02-28T18:15:00", "2026-03-01T18:15:00"),
        ("day", "Asia/Kathmandu", "2026-03-01T18:15:00", "2026-03-01T18:15:00", "2026-03-02T18:15:00"),
        # The clocks go forward: a day of 23 hours; and back: one of 25.
        ("day", "Europe/Berlin", "2026-03-29T12:00:00", "2026-03-28T23:00:00", "2026-03-29T22:00:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00", "2026-10-24T22:00:00", "2026-10-25T23:00:00"),
        ("month", "America/Los_Angeles", "2026-03-01T07:59:59", "2026-02-01T08:00:00", "2026-03-01T08:00:00"),
        ("month", "America/Los_Angeles", "2026-12-15T00:00:00", "2026-12-01T08:00:00", "2027-01-01T08:00:00"),
        # Midnight comes twice; the day begins with the first one.
        ("day", "America/Havana", "2026-11-01T12:00:00", "2026-11-01T04:00:00", "2026-11-02T05:00:00"),
        ("day", "America/Havana", "2026-11-01T05:30:00", "2026-11-01T04:00:00", "2026-11-02T05:00:00"),
        ("day", "UTC", "2026-12-31T23:59:59.999999", "2026-12-31T00:00:00", "2027-01-01T00:00:00"),
        ("month", "UTC", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_days_and_months_are_those_of_the_time_zone(period, tz, now, begin, end):
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert [one.replace(tzinfo=None).isoformat() for one in period_of(period, tz, at)] == [begin, end]


def test_a_counter_that_does_not_follow_from_the_events_is_found_and_named():
    alice, bob, room = make_wallet("9"), make_wallet("9"), uuid7()
    row = limit(alice, "room", room, "5")
    limit(bob, "room", room, "5")
    run(alice, place=Place(room_id=room))
    assert not list(check_wallets())
    SpendingLimit.objects.filter(id=row.id).update(spent=credits("0.5"))
    [finding] = check_wallets()
    assert (finding.invariant, finding.user_id) == ("L11", alice)
    assert f"limit {row.id} (room a day) counts 0.50000000" in finding.detail
    assert finding.detail.endswith("its events come to 1.00000000")
    SpendingLimit.objects.filter(id=row.id).update(spent=credits("1"))
    CreditWallet.objects.filter(user_id=bob).update(has_limits=False)
    assert [(found.invariant, found.user_id) for found in check_wallets()] == [("L11", bob)]
    CreditWallet.objects.filter(user_id=bob).update(has_limits=True)

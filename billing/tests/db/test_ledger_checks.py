"""What a full check leaves behind, so that `/metrics` can tell of the last one."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection

from billing import checking, tasks
from billing.models import LedgerCheck
from billing.stored_metrics import stored
from billing.tests.db.test_invariants import check_ledger, damage, make_user
from billing.tests.makers import charge, make_hold, make_wallet
from pricing.rating import TokenPools

pytestmark = [pytest.mark.django_db, pytest.mark.breaks_the_ledger]


def values() -> dict[str, float]:
    return {sample.name: sample.value for metric in stored() for sample in metric.samples}


def by_invariant() -> dict[str, float]:
    """What the metric says of each invariant, those left out that hold. It names all eleven."""
    samples = [sample for metric in stored() for sample in metric.samples]
    found = {s.labels["invariant"]: s.value for s in samples if s.name == "tallyroom_ledger_check_findings"}
    assert len(found) == 11
    return {name: value for name, value in found.items() if value}


@pytest.fixture
def alice():
    user_id = make_wallet("10", user_id=make_user("alice@example.com"))
    charge(user_id, TokenPools(output=10_000))
    return user_id


def break_the_balance(user_id):
    damage("UPDATE credit_wallets SET balance = balance + 1 WHERE user_id = %(user)s", user=user_id)


@pytest.mark.parametrize("check", [lambda: call_command("check_ledger"), tasks.check_ledger], ids=["command", "beat"])
def test_a_full_check_is_recorded(alice, check):
    check()
    (row,) = LedgerCheck.objects.all()
    assert (row.ok, row.violations, row.wallets_checked) == (True, 0, 1)
    assert row.started_at <= row.finished_at
    found = values()
    assert (found["tallyroom_ledger_check_ok"], found["tallyroom_ledger_check_violations"]) == (1, 0)
    assert found["tallyroom_ledger_check_wallets"] == 1
    assert (row.entries_checked, found["tallyroom_ledger_check_entries"]) == (2, 2)
    assert found["tallyroom_ledger_check_timestamp_seconds"] == row.finished_at.timestamp()


def test_a_violation_is_recorded_until_a_later_check_finds_none(alice):
    break_the_balance(alice)
    assert check_ledger()[0] == 1
    broken = LedgerCheck.objects.get()
    assert (broken.ok, broken.violations > 0) == (False, True)
    assert values()["tallyroom_ledger_check_ok"] == 0
    # The balance is no longer the sum of the entries, nor that of the lots, nor what the last entry says.
    assert by_invariant() == broken.violations_by_invariant
    assert sum(by_invariant().values()) == broken.violations
    assert {"L1", "L9"} <= {*by_invariant()}
    damage("UPDATE credit_wallets SET balance = balance - 1 WHERE user_id = %(user)s", user=alice)
    assert check_ledger()[0] == 0
    assert values()["tallyroom_ledger_check_ok"] == 1
    assert by_invariant() == {}
    assert LedgerCheck.objects.count() == 2


def test_a_check_of_one_user_says_nothing_about_the_ledger(alice):
    break_the_balance(alice)
    assert check_ledger("--user", "alice@example.com")[0] == 1
    assert not LedgerCheck.objects.exists()
    assert "tallyroom_ledger_check_ok" not in values()


def test_a_check_that_breaks_off_is_not_recorded(alice, monkeypatch):
    def broken(**_):
        raise DatabaseError
        yield

    monkeypatch.setattr(checking, "check_wallets", broken)
    with pytest.raises(DatabaseError):
        tasks.check_ledger()
    assert not LedgerCheck.objects.exists()


def test_only_the_newest_checks_are_kept(alice, monkeypatch):
    monkeypatch.setattr(checking, "KEPT", 3)
    ids = []
    for _ in range(5):
        checking.check_everything(report=lambda finding: None)
        ids.append(LedgerCheck.objects.latest("finished_at").id)
    assert set(LedgerCheck.objects.values_list("id", flat=True)) == set(ids[2:])


def test_a_check_that_cannot_be_recorded_is_still_answered(alice, monkeypatch):
    def refuses(*_, **__):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    monkeypatch.setattr(LedgerCheck, "save", refuses)
    break_the_balance(alice)
    assert check_ledger()[0] == 1


def test_open_holds_are_counted_and_added_up(alice):
    make_hold(alice, "1.5")
    make_hold(alice, "2.25")
    found = values()
    assert (found["tallyroom_holds_open"], found["tallyroom_holds_open_credits"]) == (2, 3.75)

"""The history that reports are measured on is one that the ledger could have made."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db.models import Min
from django.utils import timezone

from billing.models import LLMCallEvent
from billing.reports.usage import UsageQuery, usage_report
from billing.rollup.checking import differing_tables, rolled_days
from billing.rollup.rolling import roll_up
from billing.tests import usage_oracle as oracle
from config.embedded.big_history import making
from config.embedded.paths import DATA_DIR_VARIABLE
from pricing import cache

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_invariant_holds_and_the_rollup_equals_the_events(monkeypatch, capsys):
    monkeypatch.setattr(making, "USERS_AT_ONCE", 7)
    cache.reload_pricing_cache()
    now = timezone.now()
    # The invariants of all of it are checked when the test has ended, as after every other.
    made = making.make(events=1_500, users=20, now=now)
    assert made == LLMCallEvent.objects.count() > 1_000
    assert now - LLMCallEvent.objects.aggregate(Min("created_at"))["created_at__min"] > timedelta(days=85)
    roll_up(now)
    days = rolled_days(last=3)
    assert [differing_tables(day) for day in days] == [[], [], []]
    start = now - timedelta(days=60)
    report = usage_report(UsageQuery(start=start, end=now, tz=ZoneInfo("Asia/Kathmandu")))
    assert report["totals"] == oracle.added_up(oracle.events_of(start, now))
    assert "seed-big: 100%" in capsys.readouterr().err


def test_a_database_that_has_users_is_not_filled(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    get_user_model().objects.create_user(email="alice@example.com")
    with pytest.raises(CommandError, match="has users already"):
        call_command("seed_big", "--events", "10", "--users", "2", stdout=StringIO())
    assert LLMCallEvent.objects.count() == 0

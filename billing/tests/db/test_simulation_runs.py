"""Simulations that are asked for: done at once or by a worker, once, recorded; and what is left of one that dies."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from billing.models import LLMCallEvent, PriceSimulation
from billing.simulating import queue, runs, services, tally
from billing.simulating.recording import read
from billing.simulating.tasks import run_simulations
from billing.tests.makers import charge, charge_at, make_call, make_wallet
from pricing.models import PricingVersion
from pricing.rating import TokenPools, rate
from pricing.services import remove_model, set_multiplier
from pricing.tests.makers import make_next, run_sql
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db
POOLS = TokenPools(input_fresh=333, input_cached=77, output=10_001)


@pytest.fixture
def alice():
    """Calls on three days, one of them of an alias that the draft lacks."""
    alice = make_user("alice@example.com")
    make_wallet("10", user_id=alice.pk)
    charge(alice.pk, POOLS, POOLS, alias="gpt-4o")
    for days_ago in (3, 5):
        at = timezone.now() - timedelta(days=days_ago)
        charge_at(at, alice.pk, make_call(POOLS), make_call(POOLS, alias="deepseek"))
    make_next(multiplier="3.3333")
    remove_model(pricing_version="next", model_alias="deepseek", actor="t")
    return alice


@pytest.fixture
def long_history(monkeypatch):
    """So that a worker is wanted for three calls."""
    monkeypatch.setattr(runs, "FEW_CALLS", 2)


def version() -> PricingVersion:
    return PricingVersion.objects.get(version="next")


def ask(**fields) -> PriceSimulation:
    return runs.ask(version(), **{"days": 30, "asked_by": "alice", **fields})


def result_of(row: PriceSimulation) -> services.Simulation:
    row.refresh_from_db()
    assert row.status == "done"
    found = read(row)
    assert found is not None
    return found


def test_a_short_history_is_simulated_at_once_and_recorded(alice):
    row = ask()
    assert (row.status, row.pricing_revision, row.days, row.asked_by) == ("done", version().revision, 30, "alice")
    assert (row.calls, row.calls_read, row.attempts) == (6, 6, 1)
    assert row.finished_at >= row.started_at


def test_what_is_recorded_is_what_the_events_come_to_one_by_one(alice):
    """Against a sum that knows nothing of slices, queues and JSON, to the last place."""
    found = result_of(ask())
    multipliers = {"gpt-4o": Decimal("3.3333"), "gpt-4o-mini": Decimal(1)}
    charged = under = Decimal(0)
    for event in LLMCallEvent.objects.filter(model_alias__in=multipliers):
        pools = TokenPools(event.input_tokens_fresh, event.input_tokens_cached, 0, event.output_tokens)
        charged += event.credits_charged
        oe_tokens = Decimal("0.35") * pools.input_fresh + Decimal("0.1") * pools.input_cached + pools.output
        exact = (oe_tokens * multipliers[event.model_alias] / 10_000).quantize(Decimal("0.00000001"))
        under += exact
    assert (found.totals.calls, found.totals.credits_charged, found.totals.credits_under_version) == (4, charged, under)
    ((alias, gone),) = found.without_price
    assert (alias, gone.calls) == ("deepseek", 2)
    (user,) = found.top_users
    assert (user.user_id, user.email, user.sums.difference) == (alice.pk, "alice@example.com", under - charged)
    assert (found.coverage.pieces_of_work, found.coverage.without_price) == (3, 2)


def test_what_is_read_back_is_what_was_computed(alice):
    row = ask()
    again = services.simulate(runs.book_at("next", row.pricing_revision), days=30, start=row.start, end=row.end)
    assert result_of(row) == again


def test_a_piece_of_work_that_is_settled_at_midnight_of_a_slice_is_not_cut(alice):
    now = timezone.now()
    charge_at(now - timedelta(days=1), alice.pk, make_call(POOLS), make_call(POOLS))
    book = runs.book_at("next", version().revision)
    found = services.simulate(book, days=2, start=now - timedelta(days=2), end=now + timedelta(seconds=1))
    assert (found.totals.calls, found.coverage.pieces_of_work) == (4, 2)


def test_a_long_history_waits_for_a_worker(alice, long_history):
    row = ask()
    assert (row.status, row.result, row.calls_read) == ("waiting", None, 0)
    assert run_simulations() == 1
    assert result_of(row).totals.calls == 4
    assert run_simulations() == 0


def test_asking_again_is_asking_once(alice, long_history):
    first = ask()
    assert ask(asked_by="bob") == first
    assert ask(days=7) != first
    set_multiplier(model_alias="gpt-4o", multiplier=Decimal(4), actor="t", pricing_version="next")
    assert ask() != first
    assert run_simulations() == 3
    assert ask() != first


def test_one_runs_at_a_time_and_is_left_alone_while_it_gives_signs_of_life(alice, long_history):
    ask()
    ask(days=7)
    running = queue.claim()
    assert queue.claim() is None
    with time_machine.travel(timezone.now() + queue.SILENT_FOR + timedelta(seconds=1)):
        again = queue.claim()
    assert again is not None
    assert (again.pk, again.attempts) == (running.pk, 2)


def test_what_comes_back_after_it_was_thought_dead_writes_nothing(alice, long_history):
    ask()
    dead = queue.claim()
    PriceSimulation.objects.update(seen_at=timezone.now() - timedelta(hours=1))
    assert run_simulations() == 1
    stored = PriceSimulation.objects.values().get()
    assert runs._run(dead) is False
    assert PriceSimulation.objects.values().get() == stored


def test_what_kills_its_worker_three_times_has_failed(alice, long_history):
    row = ask()
    for attempt in range(1, 4):
        claimed = queue.claim()
        assert claimed.attempts == attempt
        PriceSimulation.objects.update(seen_at=timezone.now() - timedelta(hours=1))
    assert run_simulations() == 0
    row.refresh_from_db()
    assert (row.status, row.attempts, row.result) == ("failed", 3, None)
    assert ask() != row


def test_a_worker_that_ends_gives_back_what_it_works_on(alice, long_history, monkeypatch):
    monkeypatch.setattr(services, "CHUNK", 1)
    row = ask()
    claimed = queue.claim()
    runs.stop()
    try:
        assert runs._run(claimed) is False
        assert run_simulations() == 0
    finally:
        runs._is_stopping.clear()
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("waiting", 0)
    assert run_simulations() == 1


def test_it_is_told_how_far_it_is_between_two_days(alice, long_history, monkeypatch):
    row, seen = ask(), []
    say = runs._Progress.say

    def spy(self):
        say(self)
        seen.append(PriceSimulation.objects.get(pk=row.pk).calls_read)

    monkeypatch.setattr(runs._Progress, "say", spy)
    run_simulations()
    assert len(seen) == 30
    assert sorted(set(seen)) == [0, 2, 4, 6]


def test_the_command_records_what_it_found_in_place_of_what_waits(alice, long_history):
    waiting = ask()
    call_command("simulate_pricing", "next", days=30)
    row = PriceSimulation.objects.get()
    assert row != waiting
    assert (row.status, row.asked_by, result_of(row).totals.calls) == ("done", "simulate_pricing", 4)


def test_only_the_newest_are_kept_and_none_that_runs(alice, monkeypatch):
    monkeypatch.setattr(queue, "KEPT", 2)
    monkeypatch.setattr(runs, "FEW_CALLS", -1)
    oldest = ask(days=1)
    PriceSimulation.objects.update(status="running", seen_at=timezone.now())
    for days in (2, 3, 4, 5):
        ask(days=days)
    assert sorted(PriceSimulation.objects.values_list("days", flat=True)) == [1, 3, 4, 5]
    assert PriceSimulation.objects.filter(pk=oldest.pk).exists()


def test_who_is_erased_is_not_in_what_was_recorded(alice):
    row = ask()
    assert "alice@example.com" not in str(PriceSimulation.objects.values().get())
    alice.email = "gone@example.com"
    alice.save(update_fields=["email"])
    assert result_of(row).top_users[0].email == "gone@example.com"


@pytest.mark.parametrize("change", ["status = 'done'", "status = 'lost'", "result = '{}'"])
def test_the_database_refuses_a_row_that_makes_no_sense(alice, long_history, change):
    ask()
    with pytest.raises(IntegrityError), transaction.atomic():
        run_sql(f"UPDATE price_simulations SET {change}")


def test_the_rating_is_the_one_that_bills(alice, monkeypatch):
    """Nobody but `pricing.rating` says what a call costs."""
    rated = []
    monkeypatch.setattr(tally, "rate", lambda *args, **fields: rated.append(args) or rate(*args, **fields))
    ask()
    assert len(rated) == 4

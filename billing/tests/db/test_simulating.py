"""A price version against what really happened: sums, users, coverage, and that nothing is written."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from billing.models import CreditTransaction, LLMCallEvent
from billing.simulating import history
from billing.simulating.services import last_days, simulate
from billing.tests.makers import charge, make_call, make_hold, make_wallet, settle
from pricing import cache, lifecycle, services
from pricing.history import book_at
from pricing.models import PricingVersion
from pricing.rating import TokenPools
from pricing.tests.makers import SEED, make_next, stored
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db
# One credit of gpt-4o-mini, two of gpt-4o.
POOLS = TokenPools(output=10_000)


def run(version: str = "next", *, days: int = 30, **fields):
    found = PricingVersion.objects.get(version=version)
    start, end = last_days(days)
    return simulate(book_at(version, found.revision), days=days, start=start, end=end, **fields)


@pytest.fixture
def people():
    """Alice used gpt-4o, twice in one turn; bob only gpt-4o-mini, and his wallet is nearly empty."""
    alice, bob = make_user("alice@example.com"), make_user("bob@example.com")
    make_wallet("10", user_id=alice.pk)
    make_wallet("1.5", user_id=bob.pk)
    charge(alice.pk, POOLS, POOLS, alias="gpt-4o")
    charge(bob.pk, POOLS)
    return alice, bob


def test_the_version_in_force_would_have_charged_what_was_charged(people):
    found = run(SEED)
    assert (found.totals.calls, found.totals.credits_charged, found.totals.credits_under_version) == (3, 5, 5)
    assert (found.totals.difference, found.totals.percent, found.top_users) == (0, 0, [])
    assert found.coverage.pieces_of_work == 2


def test_dearer_prices_name_what_and_whom_they_hit(people):
    alice, bob = people
    make_next(multiplier="3")
    services.set_multiplier(model_alias="gpt-4o-mini", multiplier=Decimal("1.6"), actor="t", pricing_version="next")
    found = run()
    # 4 + 1 as billed; 2 x 3 + 1.6 under the version.
    assert (found.totals.credits_charged, found.totals.credits_under_version) == (5, Decimal("7.6"))
    assert found.totals.percent == 52
    assert [(alias, sums.difference, sums.percent) for alias, sums in found.by_alias] == [
        ("gpt-4o", 2, 50), ("gpt-4o-mini", Decimal("0.6"), 60),
    ]  # fmt: skip
    assert [(user.user_id, user.email, user.sums.difference) for user in found.top_users] == [
        (alice.pk, "alice@example.com", 2), (bob.pk, "bob@example.com", Decimal("0.6")),
    ]  # fmt: skip
    # Bob had 1.5 credits for what would have cost 1.6.
    assert (found.coverage.pieces_of_work, found.coverage.not_covered, found.coverage.newly_not_covered) == (2, 1, 1)
    assert found.coverage.not_covered_as_billed == 0


def test_an_alias_that_the_version_lacks_is_told(people):
    make_next()
    services.remove_model(pricing_version="next", model_alias="gpt-4o", actor="t")
    found = run()
    assert (found.totals.calls, found.totals.credits_charged) == (1, 1)
    ((alias, sums),) = found.without_price
    assert (alias, sums.calls, sums.credits_charged) == ("gpt-4o", 2, 4)
    assert found.coverage.without_price == 1


def test_other_weights_count(people):
    make_next(multiplier="2", weight_output=Decimal("1.5"), divisor=Decimal(20_000))
    assert run().totals.credits_under_version == Decimal("3.75")


def test_only_the_days_that_were_asked_for_count(people):
    with time_machine.travel(timezone.now() + timedelta(days=7)):
        assert run(SEED, days=6).totals.calls == 0
        assert run(SEED, days=8).totals.calls == 3


def test_direct_calls_count_as_work_of_their_own():
    bob = make_wallet("3")
    nowhere = dict.fromkeys(("room_id", "session_id", "step_id", "agent_id"))
    for _ in range(2):
        call = dataclasses.replace(make_call(POOLS, purpose="direct", **nowhere), turn_id=None)
        settle(bob, make_hold(bob, "0", enforcement="off"), call)
    make_next()
    services.set_multiplier(model_alias="gpt-4o-mini", multiplier=Decimal("2.5"), actor="t", pricing_version="next")
    coverage = run().coverage
    assert (coverage.pieces_of_work, coverage.not_covered) == (2, 1)


def test_ten_users_are_named_at_most_and_the_hardest_hit_first():
    for number in range(12):
        user = make_wallet("100")
        charge(user, *[POOLS] * (number + 1), alias="gpt-4o")
    make_next(multiplier="3")
    assert [user.sums.difference for user in run().top_users] == list(range(12, 2, -1))
    assert {user.email for user in run().top_users} == {""}


def test_a_simulation_writes_nothing_and_says_how_far_it_is(people):
    make_next()
    said = []
    before = stored(), list(LLMCallEvent.objects.values()), list(CreditTransaction.objects.values())
    run(progress=said.append)
    assert (stored(), list(LLMCallEvent.objects.values()), list(CreditTransaction.objects.values())) == before
    assert sum(said) == 3


def test_what_was_simulated_is_what_the_version_charges_for_the_same_calls(people):
    alice, bob = people
    make_next(multiplier="3.3333", weight_output=Decimal("1.0101"))
    told = run().totals.credits_under_version
    lifecycle.activate(pricing_version="next", actor="t")
    cache.reload_pricing_cache()
    charged = charge(alice.pk, POOLS, POOLS, alias="gpt-4o").charged + charge(bob.pk, POOLS).charged
    assert charged == told


def test_the_command_prints_it(people):
    make_next()
    out = StringIO()
    call_command("simulate_pricing", "next", days=7, stdout=out)
    text = out.getvalue()
    assert "next revision 9, 7 days" in text
    assert "gpt-4o           2  4.00000000     6.00000000  2.00000000     50.00" in text
    assert "alice@example.com" in text
    assert "of 2 turns and direct calls 0 cost more than the wallet held then" in text


@pytest.mark.parametrize("days", [0, -1, 367])
def test_the_command_refuses_other_days(days):
    with pytest.raises(CommandError, match="between 1 and 366"):
        call_command("simulate_pricing", SEED, days=days)


def test_the_command_refuses_a_version_that_does_not_exist():
    with pytest.raises(CommandError, match="no such price version"):
        call_command("simulate_pricing", "unknown")


def test_debits_are_looked_up_by_their_events_however_many_entries_there_are(people):
    """Joined in another way, each day's events would read all entries that there ever were."""
    start, end = last_days(1)
    with connection.cursor() as cursor:
        # What the planner would rather do with as few rows as these.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {history._CALLS}", {"start": start, "end": end})
        plan = "\n".join(row for (row,) in cursor.fetchall())
    assert "Nested Loop Left Join" in plan
    assert "on credit_transactions" in plan
    assert "Hash" not in plan

"""Two who ask at the same moment, and two workers who look."""

from __future__ import annotations

import pytest

from billing.models import PriceSimulation
from billing.simulating import runs
from billing.simulating.tasks import run_simulations
from billing.tests.makers import charge, make_wallet
from config.core.tests.racing import at_once
from pricing.rating import TokenPools
from pricing.tests.makers import make_next

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _long_history(monkeypatch):
    monkeypatch.setattr(runs, "FEW_CALLS", 0)


def test_many_who_ask_at_once_ask_once_and_it_is_done_once():
    charge(make_wallet("10"), TokenPools(output=10_000), alias="gpt-4o")
    draft = make_next()
    asked = at_once(*[lambda: runs.ask(draft, days=30, asked_by="alice")] * 5)
    assert len({row.pk for row in asked}) == 1
    done = at_once(*[run_simulations] * 4)
    # Besides, a worker that heard of it may have been there: there is none in tests.
    assert sorted(done) == [0, 0, 0, 1]
    row = PriceSimulation.objects.get()
    assert (row.status, row.attempts, row.calls_read) == ("done", 1, 1)

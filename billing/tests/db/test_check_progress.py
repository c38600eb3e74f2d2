"""A check says how far it has come, in entries: within one large wallet as over many small ones."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from billing import check_progress
from billing.check_progress import LoggedProgress
from billing.invariants import Extent, chain, check_wallets, extent
from billing.tests.makers import charge, make_wallet
from config.core.ids import uuid7
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db
ONE = TokenPools(output=10_000)


@pytest.mark.parametrize("wallets", [1, 5])
def test_it_moves_every_few_entries(wallets, monkeypatch):
    monkeypatch.setattr(chain, "STEP", 2)
    people = [make_wallet("50") for _ in range(wallets)]
    for user_id in people:
        charge(user_id, *[ONE] * (10 // wallets - 1))
    steps = []
    assert list(check_wallets(progress=steps.append)) == []
    assert [step for step in steps if step.entries] == [Extent(0, 2)] * 5
    assert sum(step.wallets for step in steps) == wallets
    assert extent() == Extent(wallets, 10)
    assert extent(user_id=people[0]) == Extent(1, 10 // wallets)
    assert extent(user_id=uuid7()) == Extent(0, 0)


def test_without_a_terminal_it_is_a_line_every_so_many_entries(monkeypatch):
    monkeypatch.setattr(check_progress, "LOGGED_EVERY", 10)
    progress = LoggedProgress(Extent(3, 30))
    with capture_logs() as logs:
        for done in (Extent(0, 9), Extent(1, 0), Extent(0, 1), Extent(1, 0), Extent(0, 20)):
            progress(done)
    assert [(line["event"], line["entries"], line["of_entries"], line["wallets"]) for line in logs] == [
        ("ledger_check_progress", 10, 30, 1),
        ("ledger_check_progress", 30, 30, 2),
    ]

"""The gate alone: what is free for which alias, and what a hold is refused for. No database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from billing.ledger.gate import Gate
from billing.ledger.states import Lot, OpenHold, Place, Share
from config.core.ids import uuid7

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINI, LARGE = "gpt-4o-mini", "gpt-4o"


def lot(amount, *aliases, expires_at=None):
    return Lot(uuid7(), Decimal(amount), 50, expires_at, NOW, aliases)


def share(alias, amount):
    return Share(alias, Decimal(amount))


def held_for(*shares):
    return OpenHold(shares, Place())


def test_without_scopes_the_balance_less_what_is_held_is_free_for_everything():
    gate = Gate(Decimal(10), Decimal(3), lots=[lot(10)])
    assert [gate.available_for(MINI), gate.available_for(LARGE)] == [Decimal(7), Decimal(7)]
    assert gate.refusal([share(MINI, 7)]) is None
    assert gate.refusal([share(MINI, "7.00000001")]).members["available"] == "7.00000000"


def test_a_scoped_lot_is_free_for_its_alias_alone():
    gate = Gate(Decimal(10), Decimal(0), lots=[lot(6, MINI), lot(4)])
    assert [gate.available_for(MINI), gate.available_for(LARGE)] == [Decimal(10), Decimal(4)]


def test_nothing_is_free_that_the_balance_does_not_have():
    """What others hold for an alias that their lots cannot pay for is reserved of the balance all the same."""
    gate = Gate(Decimal(10), Decimal(8), lots=[lot(9, MINI), lot(1)], others=[held_for(share(LARGE, 8))])
    assert [gate.available_for(MINI), gate.available_for(LARGE)] == [Decimal(2), Decimal(0)]


def test_the_shares_of_a_hold_do_not_count_a_lot_twice():
    gate = Gate(Decimal(10), Decimal(0), lots=[lot(3, MINI), lot(7, LARGE)])
    assert gate.refusal([share(MINI, 2), share(LARGE, 7), share(MINI, 1)]) is None
    refusal = gate.refusal([share(MINI, 2), share(MINI, 2)])
    assert (refusal.members["available"], refusal.members["required"]) == ("1.00000000", "2.00000000")


def test_a_lot_pays_for_nothing_from_the_instant_of_its_expiry():
    moment = timedelta(microseconds=1)
    for expires_at, free in ((NOW - moment, 1), (NOW, 1), (NOW + moment, 6), (None, 6)):
        gate = Gate(Decimal(6), Decimal(0), lots=[lot(5, MINI, expires_at=expires_at), lot(1)], now=NOW)
        assert gate.available_for(MINI) == Decimal(free)
    # Between calls nobody asks for the time: what is left of an expired lot then is what holds reserve.
    gate = Gate(Decimal(6), Decimal(0), lots=[lot(5, MINI, expires_at=NOW - moment), lot(1)])
    assert gate.available_for(MINI) == Decimal(6)


def test_what_costs_nothing_is_not_refused_for_an_overdraft():
    gate = Gate(Decimal(-1), Decimal(0), lots=[lot(0, MINI)])
    assert gate.refusal([share(LARGE, 0)]) is None
    assert gate.refusal([share(LARGE, "0.00000001")]).members["available"] == "-1.00000000"

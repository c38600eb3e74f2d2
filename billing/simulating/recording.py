"""What a simulation came to, as stored: credits as text, users as ids, so that who is erased is gone here, too."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing.models import PriceSimulation
from billing.simulating.services import Simulation, with_emails
from billing.simulating.tally import Coverage, Sums
from config.core.money import ledger_text


def recorded(simulation: Simulation) -> dict[str, Any]:
    return {
        "totals": _sums(simulation.totals),
        "by_alias": [[alias, _sums(sums)] for alias, sums in simulation.by_alias],
        "top_users": [[str(user.user_id), _sums(user.sums)] for user in simulation.top_users],
        "without_price": [[alias, _sums(sums)] for alias, sums in simulation.without_price],
        "coverage": asdict(simulation.coverage),
    }


def read(row: PriceSimulation) -> Simulation | None:
    """What `recorded` has made of a simulation, with its users' e-mails of today. None for one that is not done."""
    result = row.result
    if result is None:
        return None
    return Simulation(
        pricing_version=row.pricing_version,
        revision=row.pricing_revision,
        days=row.days,
        start=row.start,
        end=row.end,
        totals=_read(result["totals"]),
        by_alias=[(alias, _read(sums)) for alias, sums in result["by_alias"]],
        top_users=with_emails([(UUID(user_id), _read(sums)) for user_id, sums in result["top_users"]]),
        without_price=[(alias, _read(sums)) for alias, sums in result["without_price"]],
        coverage=Coverage(**result["coverage"]),
    )


def _sums(sums: Sums) -> list[Any]:
    return [sums.calls, ledger_text(sums.credits_charged), ledger_text(sums.credits_under_version)]


def _read(stored: list[Any]) -> Sums:
    calls, charged, under_version = stored
    return Sums(calls, Decimal(charged), Decimal(under_version))

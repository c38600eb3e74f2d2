"""The registry's heartbeat: it outlives whatever a database that is away says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.db import InterfaceError, InternalError, OperationalError

from config.core.ids import uuid7
from sessions_app.turns.registry import Registry


# InternalError: what PostgreSQL says while it is a standby, in a failover.
@pytest.mark.parametrize("error", [OperationalError, InterfaceError, InternalError])
def test_leases_are_renewed_again_after_the_database_was_away(settings, error):
    settings.TURN_LEASE_S = 0.3
    asked: list[Any] = []

    def renew(mine):
        asked.append(mine)
        if len(asked) == 1:
            raise error
        registry.runs.clear()
        return []

    registry = Registry()
    registry._renew = renew  # type: ignore[method-assign]
    turn = SimpleNamespace(id=uuid7(), lease_claim=uuid7())
    registry.runs[turn.id] = cast(Any, SimpleNamespace(turn=turn))
    asyncio.run(asyncio.wait_for(registry._beat(), timeout=5))
    assert asked == [[(turn.id, turn.lease_claim)]] * 2

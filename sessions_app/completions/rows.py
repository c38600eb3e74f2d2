"""The SQL of a completion: its lease and its end, under its claim. Whoever does not hold the claim writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection


def insert(
    *, id_: UUID, user_id: UUID, model_alias: str, pricing: tuple[str, int], claim: UUID, created_at: datetime
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO completions (id, user_id, model_alias, status, pricing_version, pricing_revision, claim,
                      created_at, lease_expires_at)
               VALUES (%s, %s, %s, 'running', %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s))""",
            [id_, user_id, model_alias, *pricing, claim, created_at, settings.TURN_LEASE_S],
        )


def renew(mine: Mapping[UUID, UUID]) -> None:
    """Renew the leases of completions (id → claim) that this process runs."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE completions c SET lease_expires_at = clock_timestamp() + make_interval(secs => %s)
                 FROM unnest(%s::uuid[], %s::uuid[]) AS mine(id, claim)
                WHERE c.id = mine.id AND c.claim = mine.claim AND c.status = 'running'""",
            [settings.TURN_LEASE_S, list(mine.keys()), list(mine.values())],
        )


def end(*, id_: UUID, claim: UUID, status: str, answer: dict[str, Any] | None) -> bool:
    """Whether it has ended under this claim, now or by an earlier try whose commit was not heard of."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE completions SET status = %s, answer = %s::jsonb, finished_at = clock_timestamp()
                WHERE id = %s AND claim = %s AND status = 'running'""",
            [status, None if answer is None else json.dumps(answer), id_, claim],
        )
        if cursor.rowcount == 1:
            return True
        cursor.execute("SELECT 1 FROM completions WHERE id = %s AND claim = %s", [id_, claim])
        return cursor.fetchone() is not None

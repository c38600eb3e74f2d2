"""The SQL of a turn that runs, by hand: its journal, its end, its lease. Each function is one fenced statement.

Whoever does not hold the turn's claim any more writes nothing. Money is `billing.ledger`'s.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from config.core.transactions import patience_sql
from sessions_app.turns.planning import Speaker


@dataclass(frozen=True, slots=True)
class StepRow:
    """A journaled call. `call` is the rated call as `turns.journal` encodes it, None while it runs.

    `context`: what it read and what was left out, and for the turn's own calls which `task` it is.
    """

    id: UUID
    step_index: int
    speaker: Speaker
    purpose: str
    status: str
    content: str = ""
    error_code: str = ""
    call: dict[str, Any] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    context: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "step_index": self.step_index,
            "agent_id": str(self.speaker.agent_id),
            "agent_key": self.speaker.agent_key,
            "agent_name": self.speaker.agent_name,
            "purpose": self.purpose,
            "model_alias": self.speaker.model_alias,
            "status": self.status,
            "content": self.content,
            "error_code": self.error_code,
            "call": self.call,
            "context": self.context,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
        }


STEPS_CTE = """
    INSERT INTO turn_steps (
        id, turn_id, step_index, agent_id, agent_key, agent_name, purpose, model_alias, status, content, error_code,
        call, context, started_at, finished_at)
    SELECT s.id, t.id, s.step_index, s.agent_id, s.agent_key, s.agent_name, s.purpose, s.model_alias, s.status,
           s.content, s.error_code, s.call, s.context, COALESCE(s.started_at, clock_timestamp()), s.finished_at
      FROM turn t, jsonb_to_recordset(%(steps)s::jsonb) AS s(
           id uuid, step_index int, agent_id uuid, agent_key text, agent_name text, purpose text, model_alias text,
           status text, content text, error_code text, call jsonb, context jsonb, started_at timestamptz,
           finished_at timestamptz)
    ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, content = EXCLUDED.content,
           error_code = EXCLUDED.error_code, call = EXCLUDED.call, context = EXCLUDED.context,
           finished_at = EXCLUDED.finished_at
"""
_JOURNAL = f"""
WITH turn AS (
    SELECT id FROM turns WHERE id = %(id)s AND claim = %(claim)s AND status = 'running' AND {{patience}}
       FOR NO KEY UPDATE
), steps AS ({STEPS_CTE})
SELECT id FROM turn
"""  # noqa: S608 - constants only


def journal(*, turn_id: UUID, claim: UUID, steps: Sequence[StepRow]) -> bool:
    """Write finished and starting calls, if the turn is still ours. Idempotent on the steps' ids."""
    return fenced(_JOURNAL, turn_id=turn_id, claim=claim, steps=steps, parameters={})


def renew_leases(turns: Sequence[tuple[UUID, UUID]]) -> dict[UUID, bool]:
    """Renew the leases of (turn, claim) pairs on the database's clock.

    Returns the turns that are still ours, and whether their owner wants them to end.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE turns t SET lease_expires_at = clock_timestamp() + make_interval(secs => %s)
                 FROM unnest(%s::uuid[], %s::uuid[]) AS mine(id, claim)
                WHERE t.id = mine.id AND t.claim = mine.claim AND t.status = 'running'
            RETURNING t.id, t.cancel_requested_at IS NOT NULL""",
            [settings.TURN_LEASE_S, [id_ for id_, _ in turns], [claim for _, claim in turns]],
        )
        return dict(cursor.fetchall())


def claim_queued(*, turn_id: UUID, claim: UUID) -> bool:
    """Take a queued turn: from here on it runs, under a lease. One of several who try wins."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE turns SET status = 'running', claim = %s,
                      lease_expires_at = clock_timestamp() + make_interval(secs => %s)
                WHERE id = %s AND status = 'queued'""",
            [claim, settings.TURN_LEASE_S, turn_id],
        )
        return bool(cursor.rowcount == 1)


def fenced(sql: str, *, turn_id: UUID, claim: UUID, steps: Sequence[StepRow], parameters: dict[str, Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            sql.replace("{patience}", patience_sql()),
            {"id": turn_id, "claim": claim, "steps": json.dumps([step.as_json() for step in steps]), **parameters},
        )
        return cursor.fetchone() is not None

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

# A third of a lease of grace: a process that the database could not hear for a while renews as soon as it can, and is
# not to be taken for dead in that moment. For the same reason all leases count anew when the database itself restarts.
LEASE_LOST = """status = 'running' AND clock_timestamp() - make_interval(secs => %(grace_s)s)
    > GREATEST(lease_expires_at, pg_postmaster_start_time() + make_interval(secs => %(lease_s)s))"""


def lease_parameters() -> dict[str, float]:
    return {"lease_s": settings.TURN_LEASE_S, "grace_s": settings.TURN_LEASE_S / 3}


@dataclass(frozen=True, slots=True)
class StepRow:
    """A journaled call. `call` is the rated call as `turns.journal` encodes it, None while it runs."""

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
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
        }


_STEPS_CTE = """
    INSERT INTO turn_steps (
        id, turn_id, step_index, agent_id, agent_key, agent_name, purpose, model_alias, status, content, error_code,
        call, started_at, finished_at)
    SELECT s.id, t.id, s.step_index, s.agent_id, s.agent_key, s.agent_name, s.purpose, s.model_alias, s.status,
           s.content, s.error_code, s.call, COALESCE(s.started_at, clock_timestamp()), s.finished_at
      FROM turn t, jsonb_to_recordset(%(steps)s::jsonb) AS s(
           id uuid, step_index int, agent_id uuid, agent_key text, agent_name text, purpose text, model_alias text,
           status text, content text, error_code text, call jsonb, started_at timestamptz, finished_at timestamptz)
    ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, content = EXCLUDED.content,
           error_code = EXCLUDED.error_code, call = EXCLUDED.call, finished_at = EXCLUDED.finished_at
"""
_JOURNAL = f"""
WITH turn AS (
    SELECT id FROM turns WHERE id = %(id)s AND claim = %(claim)s AND status = 'running' AND {{patience}}
       FOR NO KEY UPDATE
), steps AS ({_STEPS_CTE})
SELECT id FROM turn
"""  # noqa: S608 - constants only


def journal(*, turn_id: UUID, claim: UUID, steps: Sequence[StepRow]) -> bool:
    """Write finished and starting calls, if the turn is still ours. Idempotent on the steps' ids."""
    return _fenced(_JOURNAL, turn_id=turn_id, claim=claim, steps=steps, parameters={})


@dataclass(frozen=True, slots=True)
class Answer:
    """An agent's answer as it becomes a shared message."""

    id: UUID
    agent_id: UUID
    agent_key: str
    agent_name: str
    content: str


_END = f"""
WITH turn AS (
    UPDATE turns SET status = %(status)s, error_code = %(error_code)s, error_detail = %(error_detail)s,
           provider_model = %(provider_model)s, warnings = %(warnings)s, lease_expires_at = NULL,
           finished_at = clock_timestamp()
     WHERE id = %(id)s AND claim = %(claim)s AND status = 'running' AND {{patience}} RETURNING id, session_id
), steps AS ({_STEPS_CTE}
), never_made AS (
    UPDATE turn_steps s SET status = 'cancelled', finished_at = clock_timestamp()
      FROM turn t WHERE s.turn_id = t.id AND s.status = 'running'
       AND s.id NOT IN (SELECT x.id FROM jsonb_to_recordset(%(steps)s::jsonb) AS x(id uuid))
), answers AS (
    INSERT INTO messages (id, session_id, turn_id, role, agent_id, agent_key, agent_name, content)
    SELECT a.id, t.session_id, t.id, 'assistant', a.agent_id, a.agent_key, a.agent_name, a.content
      FROM turn t, jsonb_to_recordset(%(answers)s::jsonb) AS a(
           id uuid, agent_id uuid, agent_key text, agent_name text, content text)
)
SELECT id FROM turn
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended, as its row will say it."""

    status: str
    error_code: str
    error_detail: str
    provider_model: str
    warnings: list[dict[str, str]]


def end(*, turn_id: UUID, claim: UUID, outcome: TurnEnd, steps: Sequence[StepRow], answers: Sequence[Answer]) -> bool:
    """The fence of settling: end the turn and write its steps and answers, if it is running and still ours.

    A step that was journaled as running and is not among `steps` was never made into a call: it ends as `cancelled`.
    """
    parameters = {
        "status": outcome.status,
        "error_code": outcome.error_code,
        "error_detail": outcome.error_detail,
        "provider_model": outcome.provider_model,
        "warnings": json.dumps(outcome.warnings),
        "answers": json.dumps(
            [
                {
                    "id": str(a.id),
                    "agent_id": str(a.agent_id),
                    "agent_key": a.agent_key,
                    "agent_name": a.agent_name,
                    "content": a.content,
                }
                for a in answers
            ]
        ),
    }
    return _fenced(_END, turn_id=turn_id, claim=claim, steps=steps, parameters=parameters)


def renew_leases(turns: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    """Renew the leases of (turn, claim) pairs on the database's clock; returns the turns that are still ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE turns t SET lease_expires_at = clock_timestamp() + make_interval(secs => %s)
                 FROM unnest(%s::uuid[], %s::uuid[]) AS mine(id, claim)
                WHERE t.id = mine.id AND t.claim = mine.claim AND t.status = 'running' RETURNING t.id""",
            [settings.TURN_LEASE_S, [id_ for id_, _ in turns], [claim for _, claim in turns]],
        )
        return {row[0] for row in cursor.fetchall()}


def lost_turns(*, limit: int) -> list[UUID]:
    """Running turns whose lease ran out, longest ago first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT id FROM turns WHERE {LEASE_LOST}
                 ORDER BY lease_expires_at LIMIT %(limit)s""",  # noqa: S608 - constants only
            {"limit": limit, **lease_parameters()},
        )
        return [row[0] for row in cursor.fetchall()]


def take_over(*, turn_id: UUID, claim: UUID) -> bool:
    """Take a turn that lost its lease. One of several who try wins; whoever ran it is fenced off from here on."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE turns SET claim = %(claim)s,
                       lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
                 WHERE id = %(turn_id)s AND {LEASE_LOST}""",  # noqa: S608 - constants only
            {"claim": claim, "turn_id": turn_id, **lease_parameters()},
        )
        return bool(cursor.rowcount == 1)


def _fenced(sql: str, *, turn_id: UUID, claim: UUID, steps: Sequence[StepRow], parameters: dict[str, Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            sql.replace("{patience}", patience_sql()),
            {"id": turn_id, "claim": claim, "steps": json.dumps([step.as_json() for step in steps]), **parameters},
        )
        return cursor.fetchone() is not None


def ended_by(*, turn_id: UUID, claim: UUID) -> bool:
    """Whether the turn has ended under this very claim: then a settlement that we did not hear of came through."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM turns WHERE id = %s AND claim = %s AND finished_at IS NOT NULL", [turn_id, claim])
        return cursor.fetchone() is not None

"""The SQL of a turn's own rows, by hand: each function is one statement. Money is `billing.ledger`'s.

The ORM's one row at a time costs ten times the CPU of these statements, and this is the path that every turn takes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from billing.enforcement import OVERRIDE_SQL
from config.core.ids import uuid7
from sessions_app.context.window import Utterance
from sessions_app.turns.planning import Speaker

if TYPE_CHECKING:
    from sessions_app.turns.opening import OpenedTurn, TurnRequest

# Enough for the largest context there is; `context.window` decides what of it goes along.
_HISTORY_BYTES = 4_000_000
_HISTORY_ROWS = 400


@dataclass(frozen=True, slots=True)
class Replay:
    fingerprint: str
    turn_id: UUID


@dataclass(frozen=True, slots=True)
class LoadedRoom:
    room_id: UUID
    mode: str
    goal: str
    agents: tuple[Speaker, ...]
    history: tuple[Utterance, ...]
    last_turn_index: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What opening reads in one statement. `room` is None where the caller has no such session."""

    replay: Replay | None
    room: LoadedRoom | None
    pricing_version: str
    pricing_revision: int
    enforcement_override: str | None


@dataclass(frozen=True, slots=True)
class ActiveTurn:
    turn_id: UUID
    lease_lost: bool


_LOAD = f"""
SELECT (SELECT jsonb_build_array(k.fingerprint, k.resource_id) FROM idempotency_keys k
         WHERE k.caller_id = %(caller_id)s AND k.key = %(key)s),
       p.version, p.revision, {OVERRIDE_SQL},
       s.room_id, s.mode, s.goal,
       (SELECT jsonb_agg(jsonb_build_array(a.id, a.agent_key, a.name, a.role_prompt, a.model_alias)
                         ORDER BY ra.position, ra.id)
          FROM room_agents ra JOIN agents a ON a.id = ra.agent_id AND a.deleted_at IS NULL
         WHERE ra.room_id = s.room_id),
       (SELECT jsonb_agg(jsonb_build_array(m.agent_key, m.agent_name, m.content) ORDER BY m.id)
          FROM (SELECT n.*, SUM(octet_length(n.content)) OVER (ORDER BY n.id DESC) AS bytes
                  FROM (SELECT m.id, m.agent_key, m.agent_name, m.content
                          FROM messages m JOIN turns t ON t.id = m.turn_id AND t.status NOT IN ('failed', 'running')
                         WHERE m.session_id = s.id ORDER BY m.id DESC LIMIT {_HISTORY_ROWS}) n) m
         WHERE m.bytes <= {_HISTORY_BYTES}),
       (SELECT COALESCE(MAX(t.turn_index), 0) FROM turns t WHERE t.session_id = s.id)
  FROM pricing_versions p LEFT JOIN (
       SELECT s.id, s.room_id, r.mode, r.goal FROM sessions s JOIN rooms r ON r.id = s.room_id
        WHERE s.id = %(session_id)s AND s.user_id = %(user_id)s AND s.deleted_at IS NULL AND r.deleted_at IS NULL
       ) s ON true
 WHERE p.status = 'active'
"""  # noqa: S608 - constants only


def load(request: TurnRequest) -> Loaded:
    """Replay, session, agents, history, price revision and enforcement in one snapshot, always scoped to the caller."""
    parameters = {
        "caller_id": request.claim.caller_id if request.claim else None,
        "key": request.claim.key if request.claim else None,
        "session_id": request.session_id,
        "user_id": request.user_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LOAD, parameters)
        (replay, version, revision, override, room_id, mode, goal, agents, history, last_index) = cursor.fetchone()
    found = _decoded(replay)
    room = None
    if room_id is not None:
        speakers = tuple(Speaker(UUID(a[0]), *a[1:]) for a in _decoded(agents) or [])
        past = tuple(Utterance(*m) for m in _decoded(history) or [])
        room = LoadedRoom(room_id, mode, goal, speakers, past, last_index)
    return Loaded(Replay(found[0], UUID(found[1])) if found else None, room, version, revision, override)


_INSERT = """
WITH turn AS (
    INSERT INTO turns (
        id, session_id, user_id, room_id, turn_index, mode, status, user_input, idempotency_key, pricing_version,
        pricing_revision, speakers, warnings, max_output_tokens, claim, lease_expires_at, error_code, error_detail,
        provider_model, summary_used_fallback, request_id, created_at)
    VALUES (
        %(id)s, %(session_id)s, %(user_id)s, %(room_id)s, %(turn_index)s, %(mode)s, 'running', %(user_input)s,
        %(key)s, %(pricing_version)s, %(pricing_revision)s, %(speakers)s, %(warnings)s, %(max_output_tokens)s,
        %(claim)s, clock_timestamp() + make_interval(secs => %(lease_s)s), '', '', '', false, %(request_id)s,
        clock_timestamp())
), message AS (
    INSERT INTO messages (id, session_id, turn_id, role, agent_key, agent_name, content)
    VALUES (%(message_id)s, %(session_id)s, %(id)s, 'user', '', '', %(user_input)s)
), step AS (
    INSERT INTO turn_steps (
        id, turn_id, step_index, agent_id, agent_key, agent_name, purpose, model_alias, status, content, error_code,
        started_at)
    VALUES (
        %(step_id)s, %(id)s, 1, %(agent_id)s, %(agent_key)s, %(agent_name)s, 'agent', %(model_alias)s, 'running',
        '', '', clock_timestamp())
){key_row}
SELECT 1
"""
_KEY_ROW = """, key AS (
    INSERT INTO idempotency_keys (id, caller_id, key, fingerprint, resource_type, resource_id)
    VALUES (%(key_id)s, %(caller_id)s, %(key)s, %(fingerprint)s, 'turn', %(id)s)
)"""


def insert(turn: OpenedTurn) -> None:
    """Turn (running, leased), the user's message, the first step and the idempotency key.

    Raises: IntegrityError naming `turn_one_active_per_session`, `turn_index_once_per_session` or the key's constraint.
    """
    request, prepared = turn.request, turn.prepared
    first = prepared.plan.speakers[0]
    claim = request.claim
    parameters: dict[str, Any] = {
        "id": turn.id,
        "session_id": request.session_id,
        "user_id": request.user_id,
        "room_id": prepared.room_id,
        "turn_index": prepared.next_turn_index,
        "mode": prepared.plan.mode,
        "user_input": request.message,
        "key": claim.key if claim else None,
        "pricing_version": prepared.book.pricing_version,
        "pricing_revision": prepared.book.revision,
        "speakers": json.dumps([speaker.as_json() for speaker in prepared.plan.speakers]),
        "warnings": json.dumps([{"code": w.code, "detail": w.detail} for w in prepared.plan.warnings]),
        "max_output_tokens": request.max_output_tokens,
        "claim": turn.lease_claim,
        "lease_s": settings.TURN_LEASE_S,
        "request_id": request.request_id,
        "message_id": uuid7(),
        "step_id": turn.first_step_id,
        "agent_id": first.agent_id,
        "agent_key": first.agent_key,
        "agent_name": first.agent_name,
        "model_alias": first.model_alias,
    }
    if claim is not None:
        parameters |= {"key_id": uuid7(), "caller_id": claim.caller_id, "fingerprint": claim.fingerprint}
    with connection.cursor() as cursor:
        cursor.execute(_INSERT.replace("{key_row}", _KEY_ROW if claim else ""), parameters)


def active_turn(session_id: UUID) -> ActiveTurn | None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, status = 'running' AND lease_expires_at < clock_timestamp() FROM turns
                WHERE session_id = %s AND status IN ('queued', 'running')""",
            [session_id],
        )
        row = cursor.fetchone()
    return None if row is None else ActiveTurn(*row)


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
    SELECT id FROM turns WHERE id = %(id)s AND claim = %(claim)s AND status = 'running' FOR NO KEY UPDATE
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
     WHERE id = %(id)s AND claim = %(claim)s AND status = 'running' RETURNING id, session_id
), steps AS ({_STEPS_CTE}
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
    """The fence of settling: end the turn and write its steps and answers, if it is running and still ours."""
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
            """SELECT id FROM turns WHERE status = 'running' AND lease_expires_at < clock_timestamp()
                ORDER BY lease_expires_at LIMIT %s""",
            [limit],
        )
        return [row[0] for row in cursor.fetchall()]


def take_over(*, turn_id: UUID, claim: UUID) -> bool:
    """Take a turn that lost its lease. One of several who try wins; whoever ran it is fenced off from here on."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE turns SET claim = %s, lease_expires_at = clock_timestamp() + make_interval(secs => %s)
                WHERE id = %s AND status = 'running' AND lease_expires_at < clock_timestamp()""",
            [claim, settings.TURN_LEASE_S, turn_id],
        )
        return bool(cursor.rowcount == 1)


def _fenced(sql: str, *, turn_id: UUID, claim: UUID, steps: Sequence[StepRow], parameters: dict[str, Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            sql, {"id": turn_id, "claim": claim, "steps": json.dumps([step.as_json() for step in steps]), **parameters}
        )
        return cursor.fetchone() is not None


def _decoded(value: Any) -> Any:
    # Django leaves jsonb as text, because its own JSONField decodes it.
    return json.loads(value) if isinstance(value, str) else value

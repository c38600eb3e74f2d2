"""The SQL by which a turn opens, by hand: each function is one statement. Money is `billing.ledger`'s.

The ORM's one row at a time costs ten times the CPU of these statements, and this is the path that every turn takes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from billing.enforcement import OVERRIDE_SQL
from config.core.ids import uuid7
from config.core.jsonb import decoded
from config.core.transactions import patience_sql
from sessions_app.context.window import Utterance
from sessions_app.turns.planning import Speaker
from sessions_app.turns.rows import LEASE_LOST, lease_parameters
from sessions_app.turns.turn import OpenedTurn, TurnRequest

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
       (SELECT jsonb_agg(jsonb_build_array(m.agent_key, m.agent_name, m.content) ORDER BY m.turn_index, m.id)
          FROM (SELECT n.*, SUM(octet_length(n.content)) OVER (ORDER BY n.turn_index DESC, n.id DESC) AS bytes
                  FROM (SELECT t.turn_index, m.id, m.agent_key, m.agent_name, m.content
                          FROM turns t JOIN messages m ON m.turn_id = t.id
                         WHERE t.session_id = s.id AND t.status NOT IN ('failed', 'running')
                         ORDER BY t.turn_index DESC, m.id DESC LIMIT {_HISTORY_ROWS}) n) m
         WHERE m.bytes <= {_HISTORY_BYTES}),
       (SELECT COALESCE(MAX(t.turn_index), 0) FROM turns t WHERE t.session_id = s.id)
  FROM pricing_versions p LEFT JOIN (
       SELECT s.id, s.room_id, r.mode, r.goal FROM sessions s JOIN rooms r ON r.id = s.room_id
        WHERE s.id = %(session_id)s AND s.user_id = %(user_id)s AND s.deleted_at IS NULL AND r.deleted_at IS NULL
       ) s ON true
 WHERE p.status = 'active' AND {{patience}}
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
        cursor.execute(_LOAD.replace("{patience}", patience_sql()), parameters)
        (replay, version, revision, override, room_id, mode, goal, agents, history, last_index) = cursor.fetchone()
    found = decoded(replay)
    room = None
    if room_id is not None:
        speakers = tuple(Speaker(UUID(a[0]), *a[1:]) for a in decoded(agents) or [])
        past = tuple(Utterance(*m) for m in decoded(history) or [])
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
            f"""SELECT id, {LEASE_LOST} FROM turns
                 WHERE session_id = %(session_id)s AND status IN ('queued', 'running')""",  # noqa: S608 - constants only
            {"session_id": session_id, **lease_parameters()},
        )
        row = cursor.fetchone()
    return None if row is None else ActiveTurn(*row)

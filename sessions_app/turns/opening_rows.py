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

from config.core.ids import uuid7
from sessions_app.context.summarising import SummaryDue
from sessions_app.leases import LEASE_LOST, lease_parameters
from sessions_app.orchestration import asks
from sessions_app.turns.planning import Plan
from sessions_app.turns.turn import OpenedTurn


@dataclass(frozen=True, slots=True)
class ActiveTurn:
    turn_id: UUID
    lease_lost: bool


_INSERT = """
WITH turn AS (
    INSERT INTO turns (
        id, session_id, user_id, room_id, turn_index, mode, status, user_input, idempotency_key, pricing_version,
        pricing_revision, speakers, warnings, max_output_tokens, claim, lease_expires_at, error_code, error_detail,
        provider_model, summary_used_fallback, summary_plan, regenerates_id, continues_id, stand_ins, request_id,
        created_at)
    VALUES (
        %(id)s, %(session_id)s, %(user_id)s, %(room_id)s, %(turn_index)s, %(mode)s, %(status)s, %(user_input)s,
        %(key)s, %(pricing_version)s, %(pricing_revision)s, %(speakers)s, %(warnings)s, %(max_output_tokens)s,
        %(claim)s, clock_timestamp() + make_interval(secs => %(lease_s)s), '', '', '', false, %(summary_plan)s,
        %(regenerates)s, %(continues)s, %(stand_ins)s, %(request_id)s, clock_timestamp())
), message AS (
    INSERT INTO messages (id, session_id, turn_id, role, agent_key, agent_name, content)
    SELECT %(message_id)s, %(session_id)s, %(id)s, 'user', '', '', %(user_input)s
     -- The message of a turn that is continued is there already.
     WHERE %(continues)s::uuid IS NULL
), step AS (
    INSERT INTO turn_steps (
        id, turn_id, step_index, agent_id, agent_key, agent_name, purpose, model_alias, status, content, error_code,
        started_at)
    VALUES (
        %(step_id)s, %(id)s, 1, %(agent_id)s, %(agent_key)s, %(agent_name)s, %(purpose)s, %(model_alias)s, 'running',
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
        # A queued turn has no lease: nobody runs it yet.
        "lease_s": None if request.in_background else settings.TURN_LEASE_S,
        "status": "queued" if request.in_background else "running",
        "stand_ins": json.dumps(_stand_ins(prepared.plan)),
        "request_id": request.request_id,
        "message_id": uuid7(),
        "step_id": turn.first_step_id,
        "summary_plan": json.dumps(summary_plan(prepared.summary)) if prepared.summary else None,
        "regenerates": request.regenerates,
        "continues": request.continues,
        **_first_step(turn),
    }
    if claim is not None:
        parameters |= {"key_id": uuid7(), "caller_id": claim.caller_id, "fingerprint": claim.fingerprint}
    with connection.cursor() as cursor:
        cursor.execute(_INSERT.replace("{key_row}", _KEY_ROW if claim else ""), parameters)


def _stand_ins(plan: Plan) -> dict[str, Any]:
    found = {"housekeeper": plan.housekeeper, "manager": plan.manager}
    return {name: speaker.as_json() for name, speaker in found.items() if speaker is not None}


def _first_step(turn: OpenedTurn) -> dict[str, Any]:
    """The call that the turn begins with: the summary where one is due."""
    prepared = turn.prepared
    purpose, speaker = "summary", prepared.plan.housekeeper
    if prepared.summary is None:
        first = asks.first(prepared.plan)
        purpose, speaker = first.purpose, first.speaker
    return {
        "step_id": turn.first_step_id,
        "purpose": purpose,
        "agent_id": speaker.agent_id,
        "agent_key": speaker.agent_key,
        "agent_name": speaker.agent_name,
        "model_alias": speaker.model_alias,
    }


def give_up_summary(turn: OpenedTurn) -> None:
    """The turn begins with its first own call after all: rewrite its first step."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE turn_steps SET purpose = %(purpose)s, agent_id = %(agent_id)s, agent_key = %(agent_key)s,
                      agent_name = %(agent_name)s, model_alias = %(model_alias)s WHERE id = %(step_id)s""",
            _first_step(turn),
        )
        cursor.execute("UPDATE turns SET summary_plan = NULL WHERE id = %s", [turn.id])


def summary_plan(due: SummaryDue) -> dict[str, Any]:
    """What whoever settles the turn must know to store the notes, also after a crash."""
    return {
        "through_turn_index": due.through.turn_index,
        "through_message_id": str(due.through.message_id),
        "read_messages": due.read_messages,
        "read_tokens": due.read_tokens,
        "messages": due.messages_in_all,
    }


def active_turn(session_id: UUID) -> ActiveTurn | None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT id, {LEASE_LOST} FROM turns
                 WHERE session_id = %(session_id)s AND status IN ('queued', 'running')""",  # noqa: S608 - constants only
            {"session_id": session_id, **lease_parameters()},
        )
        row = cursor.fetchone()
    return None if row is None else ActiveTurn(*row)

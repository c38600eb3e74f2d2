"""The SQL by which a turn ends: one fenced statement for all its rows. Money is `billing.ledger`'s."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from sessions_app.context.conversation import Notes
from sessions_app.turns.rows import STEPS_CTE, StepRow, fenced


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it becomes a shared message. `agent_id` is None for the orchestrator's own."""

    id: UUID
    agent_id: UUID | None
    agent_key: str
    agent_name: str
    content: str


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """The notes that a turn made. Without `notes` the summary was due and could not be made, for this `reason`."""

    id: UUID
    step_id: UUID | None
    model_alias: str
    notes: Notes | None
    reason: str
    through_turn_index: int | None
    through_message_id: UUID | None
    messages: int


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended, as its row will say it. `title`: for a session that has none yet; empty for none."""

    status: str
    error_code: str
    error_detail: str
    provider_model: str
    warnings: list[dict[str, str]]
    summary_used_fallback: bool = False
    title: str = ""
    error_members: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """All that a turn leaves behind, its steps and its money apart. `audit`: the columns of its context audit."""

    end: TurnEnd
    answers: list[Answer]
    summary: SummaryRow | None = None
    audit: dict[str, Any] | None = None


_END = f"""
WITH turn AS (
    UPDATE turns SET status = %(status)s, error_code = %(error_code)s, error_detail = %(error_detail)s,
           error_members = %(error_members)s::jsonb,
           provider_model = %(provider_model)s, warnings = %(warnings)s, lease_expires_at = NULL,
           summary_used_fallback = %(summary_used_fallback)s, finished_at = clock_timestamp()
     WHERE id = %(id)s AND claim = %(claim)s AND status = 'running' AND {{patience}}
 RETURNING id, session_id, room_id, user_id
), steps AS ({STEPS_CTE}
), never_made AS (
    UPDATE turn_steps s SET status = 'cancelled', finished_at = clock_timestamp()
      FROM turn t WHERE s.turn_id = t.id AND s.status = 'running'
       AND s.id NOT IN (SELECT x.id FROM jsonb_to_recordset(%(steps)s::jsonb) AS x(id uuid))
), answers AS (
    INSERT INTO messages (id, session_id, turn_id, role, agent_id, agent_key, agent_name, content)
    SELECT a.id, t.session_id, t.id, 'assistant', a.agent_id, a.agent_key, a.agent_name, a.content
      FROM turn t, jsonb_to_recordset(%(answers)s::jsonb) AS a(
           id uuid, agent_id uuid, agent_key text, agent_name text, content text)
), titled AS (
    UPDATE sessions s SET title = %(title)s FROM turn t
     WHERE s.id = t.session_id AND s.title = '' AND %(title)s <> ''
), summary AS (
    INSERT INTO session_summaries (
        id, session_id, turn_id, step_id, model_alias, used_fallback, fallback_reason, text, key_facts, decisions,
        open_questions, action_items, through_turn_index, through_message_id, messages)
    SELECT y.id, t.session_id, t.id, y.step_id, y.model_alias, y.used_fallback, y.fallback_reason, y.text, y.key_facts,
           y.decisions, y.open_questions, y.action_items, y.through_turn_index, y.through_message_id, y.messages
      FROM turn t, jsonb_to_recordset(%(summaries)s::jsonb) AS y(
           id uuid, step_id uuid, model_alias text, used_fallback boolean, fallback_reason text, text text,
           key_facts jsonb, decisions jsonb, open_questions jsonb, action_items jsonb, through_turn_index int,
           through_message_id uuid, messages int)
), audit AS (
    INSERT INTO turn_context_audit (
        id, turn_id, session_id, strategy, explanation, model_alias, budget_tokens, reserve_tokens, required_tokens,
        included_messages, included_tokens, cut_messages, cut_tokens, cut_through_turn_index, answers_cut, notes_tokens,
        summarised_messages, summarised_tokens, summary_used_fallback, exact, calls)
    SELECT u.id, t.id, t.session_id, u.strategy, u.explanation, u.model_alias, u.budget_tokens, u.reserve_tokens,
           u.required_tokens, u.included_messages, u.included_tokens, u.cut_messages, u.cut_tokens,
           u.cut_through_turn_index, u.answers_cut, u.notes_tokens, u.summarised_messages, u.summarised_tokens,
           u.summary_used_fallback, u.exact, u.calls
      FROM turn t, jsonb_to_recordset(%(audits)s::jsonb) AS u(
           id uuid, strategy text, explanation text, model_alias text, budget_tokens int, reserve_tokens int,
           required_tokens int, included_messages int, included_tokens int, cut_messages int, cut_tokens int,
           cut_through_turn_index int, answers_cut int, notes_tokens int, summarised_messages int,
           summarised_tokens int, summary_used_fallback boolean, exact boolean, calls jsonb)
)
SELECT id FROM turn
"""  # noqa: S608 - constants only


def end(*, turn_id: UUID, claim: UUID, conclusion: Conclusion, steps: Sequence[StepRow]) -> bool:
    """The fence of settling: end the turn and write all its rows, if it is running and still ours.

    A step that was journaled as running and is not among `steps` was never made into a call: it ends as `cancelled`.
    """
    outcome, summary, audit = conclusion.end, conclusion.summary, conclusion.audit
    parameters = {
        **asdict(outcome),
        "warnings": json.dumps(outcome.warnings),
        "error_members": None if outcome.error_members is None else json.dumps(outcome.error_members),
        "answers": json.dumps([asdict(answer) for answer in conclusion.answers], default=str),
        "summaries": json.dumps([_summary(summary)] if summary else [], default=str),
        "audits": json.dumps([audit] if audit else [], default=str),
    }
    return fenced(_END, turn_id=turn_id, claim=claim, steps=steps, parameters=parameters)


def ended_by(*, turn_id: UUID, claim: UUID) -> bool:
    """Whether the turn has ended under this very claim: then a settlement that we did not hear of came through."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM turns WHERE id = %s AND claim = %s AND finished_at IS NOT NULL", [turn_id, claim])
        return cursor.fetchone() is not None


def _summary(row: SummaryRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "step_id": row.step_id,
        "model_alias": row.model_alias,
        "used_fallback": row.notes is None,
        "fallback_reason": row.reason,
        **asdict(row.notes or Notes("")),
        "through_turn_index": row.through_turn_index,
        "through_message_id": row.through_message_id,
        "messages": row.messages,
    }

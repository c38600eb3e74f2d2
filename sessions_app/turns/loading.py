"""What opening reads, in one statement: replay, session, agents, notes and history, price revision, enforcement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import connection

from billing.enforcement import OVERRIDE_SQL
from config.core.jsonb import decoded
from config.core.transactions import patience_sql
from files.reading import FileInfo, files_of
from sessions_app.context.conversation import Notes, Summary, Trace, Utterance
from sessions_app.context.summarising import MESSAGES_MAX
from sessions_app.tools.limits import TRACE_TURNS
from sessions_app.tools.registry import TOOLS
from sessions_app.tools.traces import written
from sessions_app.turns.planning import Speaker
from sessions_app.turns.turn import TurnRequest

# Enough for the largest context there is; `context.window` decides what of it goes along. Notes are due at half as many
# rows, so messages are left out unread only where notes have failed for very long.
_HISTORY_BYTES = 4_000_000
_HISTORY_ROWS = 2 * MESSAGES_MAX


@dataclass(frozen=True, slots=True)
class Replay:
    fingerprint: str
    turn_id: UUID


@dataclass(frozen=True, slots=True)
class LoadedRoom:
    """`history`: what was said since the messages that `summary` stands for, oldest first.

    `traces`: what tools gave in the last turns. `files`: of the room, where an agent could use them. `last_turn_id`:
    attempts to make the last turn anew that gave no answer do not count.
    """

    room_id: UUID
    mode: str
    goal: str
    title: str
    agents: tuple[Speaker, ...]
    summary: Summary | None
    history: tuple[Utterance, ...]
    last_turn_index: int
    last_turn_id: UUID | None
    traces: tuple[Trace, ...] = ()
    files: tuple[FileInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """`room` is None where the caller has no such session."""

    replay: Replay | None
    room: LoadedRoom | None
    pricing_version: str
    pricing_revision: int
    enforcement_override: str | None


# A turn that was made anew is read no more, nor is an attempt at that which gave no answer.
_READ_NO_MORE = """
    t.id = ANY(%(left_out)s::uuid[])
    OR EXISTS (SELECT 1 FROM turns r JOIN messages a ON a.turn_id = r.id AND a.role = 'assistant'
                WHERE r.regenerates_id = t.id)
    OR t.regenerates_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM messages a WHERE a.turn_id = t.id AND a.role = 'assistant')
"""
_LOAD = f"""
SELECT (SELECT jsonb_build_array(k.fingerprint, k.resource_id) FROM idempotency_keys k
         WHERE k.caller_id = %(caller_id)s AND k.key = %(key)s),
       p.version, p.revision, {OVERRIDE_SQL},
       s.room_id, s.mode, s.goal, s.title,
       (SELECT jsonb_agg(jsonb_build_array(a.id, a.agent_key, a.name, a.role_prompt, a.model_alias, a.description,
                                           a.tool_permissions, ra.file_ids)
                         ORDER BY ra.position, ra.id)
          FROM room_agents ra JOIN agents a ON a.id = ra.agent_id AND a.deleted_at IS NULL
         WHERE ra.room_id = s.room_id),
       notes.row,
       (SELECT jsonb_agg(jsonb_build_array(m.agent_key, m.agent_name, m.content, m.turn_index, m.id)
                         ORDER BY m.turn_index, m.id)
          FROM (SELECT n.*, SUM(octet_length(n.content)) OVER (ORDER BY n.turn_index DESC, n.id DESC) AS bytes
                  FROM (SELECT t.turn_index, m.id, m.agent_key, m.agent_name, m.content
                          FROM turns t JOIN messages m ON m.turn_id = t.id
                         WHERE t.session_id = s.id AND t.status NOT IN ('failed', 'running', 'queued')
                           AND t.turn_index >= COALESCE(notes.through_turn_index, 0)
                           AND (notes.row IS NULL
                                OR (t.turn_index, m.id) > (notes.through_turn_index, notes.through_message_id))
                           AND NOT ({_READ_NO_MORE})
                         ORDER BY t.turn_index DESC, m.id DESC LIMIT {_HISTORY_ROWS}) n) m
         WHERE m.bytes <= {_HISTORY_BYTES}),
       COALESCE(newest.turn_index, 0),
       (SELECT t.id FROM turns t
         WHERE t.session_id = s.id AND NOT (
               t.regenerates_id IS NOT NULL AND t.finished_at IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM messages a WHERE a.turn_id = t.id AND a.role = 'assistant'))
         ORDER BY t.turn_index DESC LIMIT 1),
       (SELECT jsonb_agg(jsonb_build_array(x.agent_key, x.context->'tools') ORDER BY t.turn_index, x.step_index)
          FROM turns t JOIN turn_steps x ON x.turn_id = t.id
         WHERE t.session_id = s.id AND x.context ? 'tools' AND t.id IS DISTINCT FROM %(regenerates)s::uuid
           AND t.turn_index > newest.turn_index - {TRACE_TURNS} - CASE WHEN newest.is_this THEN 1 ELSE 0 END)
  FROM pricing_versions p LEFT JOIN (
       SELECT s.id, s.room_id, r.mode, r.goal, s.title FROM sessions s JOIN rooms r ON r.id = s.room_id
        WHERE s.id = %(session_id)s AND s.user_id = %(user_id)s AND s.deleted_at IS NULL AND r.deleted_at IS NULL
       ) s ON true
  LEFT JOIN LATERAL (
       SELECT y.through_turn_index, y.through_message_id,
              jsonb_build_array(y.text, y.key_facts, y.decisions, y.open_questions, y.action_items,
                                y.through_turn_index, y.through_message_id, y.messages) AS row
         FROM session_summaries y WHERE y.session_id = s.id AND NOT y.used_fallback
        ORDER BY y.through_turn_index DESC, y.id DESC LIMIT 1) notes ON true
  LEFT JOIN LATERAL (
       -- A queued turn is loaded again by whoever runs it.
       SELECT t.turn_index, t.status IN ('queued', 'running') AS is_this
         FROM turns t WHERE t.session_id = s.id ORDER BY t.turn_index DESC LIMIT 1) newest ON true
 WHERE p.status = 'active' AND {{patience}}
"""  # noqa: S608 - constants only


def load(request: TurnRequest, *, left_out: Sequence[UUID] = ()) -> Loaded:
    """One snapshot, always scoped to the caller. `left_out`: turns that are no history to this one."""
    parameters = {
        "caller_id": request.claim.caller_id if request.claim else None,
        "key": request.claim.key if request.claim else None,
        "session_id": request.session_id,
        "user_id": request.user_id,
        "regenerates": request.regenerates,
        "left_out": [*left_out, *([request.regenerates] if request.regenerates else [])],
    }
    with connection.cursor() as cursor:
        cursor.execute(_LOAD.replace("{patience}", patience_sql()), parameters)
        replay, version, revision, override, *room = cursor.fetchone()
    found = decoded(replay)
    return Loaded(
        Replay(found[0], UUID(found[1])) if found else None,
        _with_files(_room(room), request.user_id) if room[0] is not None else None,
        version, revision, override,
    )  # fmt: skip


def _with_files(room: LoadedRoom, user_id: UUID) -> LoadedRoom:
    """A second statement, for rooms alone in which somebody may read files."""
    if not any(TOOLS[name].reads_files for agent in room.agents for name in agent.tools if name in TOOLS):
        return room
    return replace(room, files=tuple(files_of(user_id=user_id, room_id=room.room_id, allowed=None)))


def _room(row: Sequence[Any]) -> LoadedRoom:
    room_id, mode, goal, title, agents, notes, history, last_turn_index, last_turn_id, traces = row
    return LoadedRoom(
        room_id=room_id,
        mode=mode,
        goal=goal,
        title=title,
        agents=tuple(_speaker(row) for row in decoded(agents) or []),
        summary=_summary(decoded(notes)),
        history=tuple(
            Utterance(key, name, text, index, UUID(id_)) for key, name, text, index, id_ in decoded(history) or []
        ),
        last_turn_index=last_turn_index,
        last_turn_id=last_turn_id,
        traces=tuple(Trace(key, written(tools)) for key, tools in decoded(traces) or []),
    )


def _speaker(row: Sequence[Any]) -> Speaker:
    id_, key, name, role_prompt, model_alias, description, tools, files = row
    file_ids = None if files is None else tuple(files)
    return Speaker(UUID(id_), key, name, role_prompt, model_alias, description, tuple(tools), file_ids)


def _summary(row: Any) -> Summary | None:
    if row is None:
        return None
    text, *lists = row[:5]
    return Summary(Notes(text, *map(tuple, lists)), row[5], UUID(row[6]), row[7])

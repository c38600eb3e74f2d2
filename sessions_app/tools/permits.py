"""What an agent may do with tools now: asked of the database at each call, whatever was true when the turn opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from config.core.jsonb import decoded


@dataclass(frozen=True, slots=True)
class Permit:
    """`files`: the ids of the room's files that the agent may read; None for all of them."""

    tools: frozenset[str]
    files: frozenset[UUID] | None


def permit_of(*, user_id: UUID, room_id: UUID, agent_id: UUID) -> Permit | None:
    """None where the agent, the room or the agent's place in it is gone, or is not this user's."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT a.tool_permissions, ra.file_ids
                 FROM agents a JOIN room_agents ra ON ra.agent_id = a.id JOIN rooms r ON r.id = ra.room_id
                WHERE a.id = %s AND r.id = %s AND a.user_id = %s AND r.user_id = %s
                  AND a.deleted_at IS NULL AND r.deleted_at IS NULL""",
            [agent_id, room_id, user_id, user_id],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    tools, files = (decoded(value) for value in row)
    return Permit(frozenset(tools), ids_of(files))


def ids_of(files: Any) -> frozenset[UUID] | None:
    return None if files is None else frozenset(UUID(id_) for id_ in files)

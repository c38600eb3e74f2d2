"""Whose room it is, for the files in it. Rooms behind an agent's own sessions are listed nowhere and hold none."""

from __future__ import annotations

from uuid import UUID

from sessions_app.models import Room


def owns_room(user_id: UUID, room_id: UUID) -> bool:
    listed = Room.objects.filter(deleted_at__isnull=True, standalone_agent__isnull=True)
    return listed.filter(id=room_id, user_id=user_id).exists()

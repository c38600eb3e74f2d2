"""Whose room it is, for the files in it. Rooms behind an agent's own sessions are listed nowhere and hold none."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db.models import QuerySet

from sessions_app.models import Room


def owns_room(user_id: UUID, room_id: UUID) -> bool:
    return _holding_files().filter(id=room_id, user_id=user_id).exists()


def gone_rooms(room_ids: Collection[UUID]) -> set[UUID]:
    return set(room_ids) - set(_holding_files().filter(id__in=room_ids).values_list("id", flat=True))


def _holding_files() -> QuerySet[Room]:
    return Room.objects.filter(deleted_at__isnull=True, standalone_agent__isnull=True)

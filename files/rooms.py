"""Whose is the room? Rooms live in an app that builds on this one, which says so here when it starts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Rooms:
    """`owns(user_id, room_id)`: is there such a room of this user now? `gone(room_ids)`: those that are no more."""

    owns: Callable[[UUID, UUID], bool]
    gone: Callable[[Collection[UUID]], set[UUID]]


_registered: list[Rooms] = []


def register(rooms: Rooms) -> None:
    _registered[:] = [rooms]


def owns(*, user_id: UUID, room_id: UUID) -> bool:
    return any(rooms.owns(user_id, room_id) for rooms in _registered)


def gone(room_ids: Collection[UUID]) -> set[UUID]:
    return {id_ for rooms in _registered for id_ in rooms.gone(room_ids)}

"""Whose is it? Rooms, agents and keys live in other apps, which say so here when they start."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

IsOwner = Callable[[UUID, UUID], bool]
_owners: dict[str, IsOwner] = {}


def register(subject: str, is_owner: IsOwner) -> None:
    """`is_owner(user_id, subject_id)`: is there such a room, agent or key of this user now?"""
    _owners[subject] = is_owner


def is_of_user(subject: str, *, user_id: UUID, subject_id: UUID) -> bool:
    if subject == "user":
        return subject_id == user_id
    is_owner = _owners.get(subject)
    return is_owner is not None and is_owner(user_id, subject_id)

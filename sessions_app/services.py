"""Rooms, agents and sessions: every write as a function. All scoped to the owner; another user's ids are not found."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now

from config.core.errors import NotFound, ValidationFailed
from files.reading import files_of
from pricing import cache as price_cache
from sessions_app.errors import UnknownModelAlias
from sessions_app.models import Agent, Room, RoomAgent, Session, Turn
from sessions_app.turns import cancelling


def agent_of(*, user_id: UUID, agent_id: UUID) -> Agent:
    agent = Agent.objects.filter(id=agent_id, user_id=user_id, deleted_at__isnull=True).first()
    if agent is None:
        raise NotFound
    return agent


def room_of(*, user_id: UUID, room_id: UUID) -> Room:
    """A listed room. The unlisted ones behind standalone sessions are not found."""
    room = Room.objects.filter(
        id=room_id, user_id=user_id, deleted_at__isnull=True, standalone_agent__isnull=True
    ).first()
    if room is None:
        raise NotFound
    return room


def session_of(*, user_id: UUID, session_id: UUID) -> Session:
    session = (
        Session.objects.select_related("room")
        .filter(id=session_id, user_id=user_id, deleted_at__isnull=True, room__deleted_at__isnull=True)
        .first()
    )
    if session is None:
        raise NotFound
    return session


def create_agent(*, user_id: UUID, fields: dict[str, Any]) -> Agent:
    """Raises: UnknownModelAlias, ValidationFailed when the key is taken."""
    _check_alias(fields["model_alias"])
    fields.setdefault("name", fields["agent_key"])
    try:
        with transaction.atomic():
            agent = Agent.objects.create(user_id=user_id, **fields)
    except IntegrityError as error:
        raise _key_taken(error) from None
    return Agent.objects.get(pk=agent.pk)


def update_agent(agent: Agent, fields: dict[str, Any]) -> Agent:
    """Raises: UnknownModelAlias, ValidationFailed when the key is taken."""
    if "model_alias" in fields:
        _check_alias(fields["model_alias"])
    try:
        with transaction.atomic():
            Agent.objects.filter(pk=agent.pk).update(**fields, updated_at=Now())
    except IntegrityError as error:
        raise _key_taken(error) from None
    return Agent.objects.get(pk=agent.pk)


def delete_agent(agent: Agent) -> None:
    """Soft: past turns keep their names. It leaves its rooms, and its own sessions end with it."""
    with transaction.atomic():
        Agent.objects.filter(pk=agent.pk).update(deleted_at=Now())
        RoomAgent.objects.filter(agent=agent).delete()
        Room.objects.filter(standalone_agent=agent).update(deleted_at=Now())
    _end_turns(Session.objects.filter(room__standalone_agent=agent))


def create_room(*, user_id: UUID, fields: dict[str, Any]) -> Room:
    return Room.objects.get(pk=Room.objects.create(user_id=user_id, **fields).pk)


def update_room(room: Room, fields: dict[str, Any]) -> Room:
    Room.objects.filter(pk=room.pk).update(**fields, updated_at=Now())
    return Room.objects.get(pk=room.pk)


def delete_room(room: Room) -> None:
    """Soft. Its sessions are not found any more; a turn that runs in one is cancelled, and billed for what came."""
    Room.objects.filter(pk=room.pk).update(deleted_at=Now())
    _end_turns(Session.objects.filter(room=room))


def seat_agent(room: Room, *, agent_id: UUID, position: int | None) -> RoomAgent:
    """Put an agent into a room, at the end unless told otherwise.

    Raises: NotFound, ValidationFailed when it sits there.
    """
    agent = agent_of(user_id=room.user_id, agent_id=agent_id)
    with transaction.atomic():
        if position is None:
            last = RoomAgent.objects.filter(room=room).aggregate(last=Max("position"))["last"]
            position = 0 if last is None else last + 1
        try:
            with transaction.atomic():
                return RoomAgent.objects.create(room=room, agent=agent, position=position)
        except IntegrityError:
            raise ValidationFailed(
                "This agent is in this room already.", field="agent_id", error_code="unique"
            ) from None


def seat_of(room: Room, *, agent_id: UUID) -> RoomAgent:
    seat = RoomAgent.objects.select_related("agent").filter(room=room, agent_id=agent_id).first()
    if seat is None:
        raise NotFound
    return seat


def update_seat(seat: RoomAgent, fields: dict[str, Any]) -> RoomAgent:
    """Move an agent, or name the files that it may read.

    Raises: ValidationFailed for a file that this room does not have.
    """
    if fields.get("file_ids") is not None:
        named = list(dict.fromkeys(fields["file_ids"]))
        found = {file.id for file in files_of(user_id=seat.room.user_id, room_id=seat.room_id, allowed=named)}
        if not found.issuperset(named):
            raise ValidationFailed("This room has no such file.", field="file_ids", error_code="does_not_exist")
        fields["file_ids"] = [str(id_) for id_ in named]
    for name, value in fields.items():
        setattr(seat, name, value)
    seat.save(update_fields=list(fields))
    return seat


def open_room_session(room: Room, *, title: str = "") -> Session:
    session = Session.objects.create(user_id=room.user_id, room=room, title=title)
    return Session.objects.select_related("room").get(pk=session.pk)


def open_agent_session(agent: Agent, *, title: str = "") -> Session:
    """A session with one agent alone. Behind it stands that agent's own unlisted room, made once."""
    with transaction.atomic():
        room, _ = Room.objects.get_or_create(
            standalone_agent=agent,
            defaults={"user_id": agent.user_id, "name": agent.name, "mode": Room.Mode.STANDALONE},
        )
        RoomAgent.objects.get_or_create(room=room, agent=agent, defaults={"position": 0})
    return open_room_session(room, title=title)


def rename_session(session: Session, *, title: str) -> Session:
    """Give a session a title by hand; an empty one leaves it untitled."""
    Session.objects.filter(pk=session.pk).update(title=title)
    return Session.objects.select_related("room").get(pk=session.pk)


def delete_session(session: Session) -> None:
    """Soft: its bills stay. A turn that runs in it is cancelled, and billed for what came."""
    Session.objects.filter(pk=session.pk).update(deleted_at=Now())
    _end_turns(Session.objects.filter(pk=session.pk))


def _end_turns(sessions: QuerySet[Session]) -> None:
    """Nobody could watch, cancel or find them any more."""
    for turn_id in Turn.objects.filter(session__in=sessions, finished_at=None).values_list("id", flat=True):
        cancelling.ask(turn_id)


def _check_alias(model_alias: str) -> None:
    if price_cache.current().find(model_alias) is None:
        raise UnknownModelAlias(model_alias)


def _key_taken(error: IntegrityError) -> Exception:
    if "agent_key_once_per_user" not in str(error):
        return error
    return ValidationFailed("You have an agent with this key already.", field="agent_key", error_code="unique")

"""People, rooms and sessions for tests, made through the services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.utils import timezone
from knox.models import AuthToken

from billing.tests.makers import make_wallet
from config.core.ids import uuid7
from sessions_app import services
from sessions_app.models import Session, Turn

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Person:
    id: UUID
    email: str
    token: str


def make_person(name: str = "alice", *, credits: str = "10", **fields: object) -> Person:
    """A user with a token and a wallet. The e-mail is unique, so that tests can share a database."""
    email = f"{name}-{uuid7().hex[-12:]}@example.com"
    user = get_user_model().objects.create_user(email=email, password=PASSWORD, **fields)
    make_wallet(credits, user_id=user.pk)
    _, token = AuthToken.objects.create(user)
    return Person(user.pk, email, token)


def make_agents(person: Person, *keys: str, model_alias: str = "gpt-4o") -> list:
    return [
        services.create_agent(
            user_id=person.id,
            fields={
                "agent_key": key,
                "name": key.title(),
                "role_prompt": f"You are {key}.",
                "model_alias": model_alias,
            },
        )
        for key in keys
    ]


def make_session(person: Person, *keys: str, mode: str = "roundtable", model_alias: str = "gpt-4o") -> UUID:
    """A session in a new room with these agents, in this order."""
    room = services.create_room(user_id=person.id, fields={"name": "Room", "mode": mode})
    known = {agent.agent_key: agent for agent in services.Agent.objects.filter(user_id=person.id)}
    for key in keys:
        agent = known.get(key) or make_agents(person, key, model_alias=model_alias)[0]
        services.seat_agent(room, agent_id=agent.id, position=None)
    return services.open_room_session(room).id


def make_standalone_session(person: Person, key: str = "solo", *, model_alias: str = "gpt-4o") -> UUID:
    (agent,) = make_agents(person, key, model_alias=model_alias)
    return services.open_agent_session(agent).id


def make_ended_turn(person: Person, session_id: UUID, **fields: Any) -> Turn:
    """A stored turn that called nobody."""
    session = Session.objects.select_related("room").get(pk=session_id)
    now = timezone.now()
    values: dict[str, Any] = {
        "session": session, "user_id": person.id, "room_id": session.room_id, "mode": session.room.mode,
        "turn_index": Turn.objects.filter(session=session).count() + 1, "status": "completed", "user_input": "Hi",
        "pricing_version": "2026-02-20", "pricing_revision": 1, "speakers": [], "max_output_tokens": 100,
        "claim": uuid7(), "request_id": "test", "created_at": now, "finished_at": now,
    }  # fmt: skip
    return Turn.objects.create(**(values | fields))

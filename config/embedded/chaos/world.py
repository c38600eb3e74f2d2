"""An empty database, and in it people with credits, agents and sessions, made through the services."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import StringIO
from uuid import UUID

from django.core.management import call_command
from django.db import connection
from knox.models import AuthToken

from config.embedded.progress import step
from sessions_app import services
from sessions_app.models import Agent, Session
from users.models import User

USERS = 8
SESSIONS_PER_USER = 15
GRANT_CREDITS = Decimal(1_000)
ALIASES = ("deepseek", "gemini-pro", "gpt-4o", "claude-sonnet")


@dataclass(frozen=True)
class Seat:
    """One session and the user whose it is."""

    user_id: str
    token: str
    session_id: str


def start_empty() -> None:
    """What an earlier run left says nothing about this one."""
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE")
        cursor.execute("CREATE SCHEMA public")
    with step("migrations of an empty database"):
        call_command("migrate", verbosity=0, interactive=False)


def make_seats() -> list[Seat]:
    with step(f"{USERS} users with {SESSIONS_PER_USER} sessions each"):
        users = [User.objects.create_user(email=f"user{number}@example.com") for number in range(USERS)]
        call_command(
            "grant_beta_credits",
            amount=GRANT_CREDITS,
            user=[user.email for user in users],
            campaign=f"chaos-{secrets.token_hex(4)}",
            stdout=StringIO(),
            stderr=StringIO(),
        )
        return [seat for number, user in enumerate(users) for seat in _seats_of(user, ALIASES[number % len(ALIASES)])]


def _seats_of(user: User, alias: str) -> list[Seat]:
    _, token = AuthToken.objects.create(user)
    agents = [_make_agent(user.pk, key, alias) for key in ("ann", "ben")]
    sessions = [_make_session(user.pk, agents, number) for number in range(SESSIONS_PER_USER)]
    return [Seat(str(user.pk), token, str(session.pk)) for session in sessions]


def _make_agent(user_id: UUID, key: str, alias: str) -> Agent:
    fields = {"agent_key": key, "name": key.title(), "role_prompt": f"You are {key}.", "model_alias": alias}
    return services.create_agent(user_id=user_id, fields=fields)


def _make_session(user_id: UUID, agents: Sequence[Agent], number: int) -> Session:
    """Every third session is with one agent alone, the others are round tables."""
    if number % 3 == 0:
        return services.open_agent_session(agents[0])
    room = services.create_room(user_id=user_id, fields={"name": "Room", "mode": "roundtable"})
    for agent in agents:
        services.seat_agent(room, agent_id=agent.pk, position=None)
    return services.open_room_session(room)

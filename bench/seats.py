"""People with credits and sessions, made through the services.

python -m bench.seats 200x20 1x500        # users x sessions of each, in the database that DATABASE_URL names
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from decimal import Decimal

MODEL_ALIAS = "gpt-4o"
# Two lots each, so that there is something to choose from.
LOTS = (Decimal(1_000), Decimal(100_000))


@dataclass(frozen=True, slots=True)
class Seat:
    """One session and the user whose it is."""

    user_id: str
    token: str
    session_id: str


def make(*, users: int, sessions: int, name: str) -> list[Seat]:
    """Sessions with one agent alone; the seats of one user lie far apart, so that neighbours are different users."""
    people = [_make_person(f"{name}-{number}@example.com", sessions) for number in range(users)]
    return [person[number] for number in range(sessions) for person in people]


def _make_person(email: str, sessions: int) -> list[Seat]:
    from knox.models import AuthToken

    from billing import ledger
    from sessions_app import services
    from sessions_app.models import Session
    from users.models import User

    user = User.objects.create_user(email=email)
    for number, credits in enumerate(LOTS):
        ledger.grant(user_id=user.pk, amount=credits, reason="bench", initiated_by="bench", priority=number)
    fields = {"agent_key": "ann", "name": "Ann", "role_prompt": "You are Ann.", "model_alias": MODEL_ALIAS}
    first = services.open_agent_session(services.create_agent(user_id=user.pk, fields=fields))
    more = Session.objects.bulk_create(Session(user_id=user.pk, room=first.room) for _ in range(sessions - 1))
    _, token = AuthToken.objects.create(user)
    return [Seat(str(user.pk), token, str(session.pk)) for session in (first, *more)]


if __name__ == "__main__":
    import django

    django.setup()
    made = 0
    for group, wanted in enumerate(sys.argv[1:]):
        users, sessions = map(int, wanted.split("x"))
        made += len(make(users=users, sessions=sessions, name=f"group-{group}"))
    sys.stdout.write(json.dumps({"seats": made}) + "\n")

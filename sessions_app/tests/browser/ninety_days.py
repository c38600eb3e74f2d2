"""Ninety days of what four people and their agents cost, for looking at: the same every time."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from billing.rollup.rolling import roll_up
from billing.tests.makers import charge_at, make_call
from pricing.rating import TokenPools
from sessions_app.models import Agent, Session
from sessions_app.tests.makers import make_person, make_session

DAYS = 90
ALIASES = ("gpt-4o", "gpt-4o-mini", "claude-sonnet", "deepseek")


def make_ninety_days() -> None:
    """Most of it rolled up, the last quarters of an hour not yet."""
    chance = random.Random(90)
    begin = timezone.now().replace(hour=0, minute=5) - timedelta(days=DAYS - 1)
    for name in ("ann", "ben", "cleo", "dan"):
        person = make_person(name, credits="1000")
        room = Session.objects.get(pk=make_session(person, "optimist", "skeptic")).room_id
        agents = list(Agent.objects.filter(user_id=person.id).values_list("id", flat=True))
        for day in range(DAYS):
            at = min(begin + timedelta(days=day, hours=chance.randrange(22)), timezone.now() - timedelta(minutes=1))
            charge_at(at, person.id, *_calls(chance, room, agents))
    roll_up(timezone.now())


def _calls(chance, room, agents):
    for _ in range(chance.randrange(1, 4)):
        pools = TokenPools(input_fresh=chance.randrange(4_000), output=chance.randrange(20_000))
        yield make_call(
            pools, alias=chance.choice(ALIASES), room_id=room, agent_id=chance.choice(agents),
            provider_cost_usd=Decimal(pools.total) / 500_000,
            usage_source=chance.choices(("provider", "estimated"), (19, 1))[0],
        )  # fmt: skip

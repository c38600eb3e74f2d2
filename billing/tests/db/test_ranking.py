"""Those charged most are found without adding everybody up, or not at all: never others than adding up finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from billing.reports import ranking, sums
from billing.reports.moments import one_moment
from billing.reports.spans import split
from billing.rollup.rolling import forget, roll_up
from billing.tests.makers import charge_at, make_call, make_wallet
from config.core.ids import uuid7
from pricing.rating import TokenPools

pytestmark = pytest.mark.django_db

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7)]
ALIASES = ("gpt-4o-mini", "deepseek")


@pytest.fixture
def people():
    """Nine, each the first of some month and nothing in another; equal sums are among them, and nothing charged."""
    found = [make_wallet("1000") for _ in range(9)]
    for number, user_id in enumerate(found):
        agent_id = uuid7()
        for month, begin in enumerate(MONTHS):
            for day in (2, 15, 27):
                output = (number * 7 + month * 11 + day) % 6 * 1_000
                calls = [make_call(TokenPools(output=output), alias=ALIASES[day % 2], agent_id=agent_id)]
                if (number + month) % 4:
                    charge_at(begin + timedelta(days=day, hours=number), user_id, *calls)
    roll_up(timezone.now())
    return found


def both(start, end, subject, *, limit, deep, conditions):
    keys = {subject: f"{subject}_id"}
    with one_moment():
        span = split(start, end)
        parts = sums.months(span, subject, by_alias=bool(conditions))
        certain = ranking.charged_most(span, subject, limit=limit, conditions=conditions, deep=deep)
        return certain, ranking.charged_most_of_all(parts, subject, keys, limit=limit, conditions=conditions)


SPANS = {
    "months": (MONTHS[0], MONTHS[2]),
    "most of each": (MONTHS[0] + timedelta(days=3), MONTHS[2] + timedelta(days=20)),
    "few days": (MONTHS[1] + timedelta(days=12), MONTHS[1] + timedelta(days=17, minutes=7)),
    "nothing": (MONTHS[1], MONTHS[1]),
}


@pytest.mark.parametrize("alias", [None, "deepseek"])
@pytest.mark.parametrize("subject", ["user", "agent"])
@pytest.mark.parametrize("name", SPANS)
def test_however_little_is_read_the_answer_is_that_of_adding_up_or_none(people, name, subject, alias):
    answers = 0
    for limit in (1, 2, 4, 20):
        for deep in (1, 2, 3, 5, 9, 10):
            certain, whole = both(
                *SPANS[name], subject, limit=limit, deep=deep, conditions={"model_alias": [alias]} if alias else {}
            )
            assert certain in (None, whole), (limit, deep)
            answers += certain is not None
            # Lists of ten end: whoever is there is known.
            if deep == 10 and whole.groups:
                assert certain == whole, limit
    assert (answers > 0) == (name != "nothing")


def test_a_few_far_ahead_are_certain_before_the_lists_end(people):
    for user_id in people[3:5]:
        charge_at(MONTHS[0] + timedelta(days=4), user_id, make_call(TokenPools(output=900_000)))
    forget(MONTHS[0])
    roll_up(timezone.now())
    certain, whole = both(MONTHS[0], MONTHS[2], "user", limit=2, deep=3, conditions={})
    assert certain == whole
    assert certain.owners == set(people[3:5])
    assert not certain.is_everybody


def test_who_had_it_all_taken_away_again_is_nobody():
    """In a month that stands for itself, but on the days alone that the span leaves out."""
    alice, bob = make_wallet("100"), make_wallet("100")
    charge_at(MONTHS[0] + timedelta(hours=1), alice, make_call(TokenPools(output=50_000)))
    charge_at(MONTHS[0] + timedelta(days=9), bob, make_call(TokenPools(output=10_000)))
    roll_up(timezone.now())
    certain, whole = both(
        MONTHS[0] + timedelta(days=1), MONTHS[1] + timedelta(days=1), "user", limit=5, deep=10, conditions={}
    )
    assert certain == whole == ranking.Ranked([(bob,)], {bob}, is_everybody=True)

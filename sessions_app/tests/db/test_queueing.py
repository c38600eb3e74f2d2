"""Queued turns that wait: their holds stay open in time, and a broker that is away is asked once."""

from __future__ import annotations

import pytest
from django.db import connection

from billing.models import CreditHold
from sessions_app.tests.makers import make_person, make_session
from sessions_app.turns import queueing
from sessions_app.turns.opening import open_turn
from sessions_app.turns.queueing import dispatch_waiting
from sessions_app.turns.recovery import recover
from sessions_app.turns.turn import OpenedTurn, TurnRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def waiting(settings) -> list[OpenedTurn]:
    """Three queued turns whose holds are about to run out."""
    settings.LLM_BASE_URL = "http://127.0.0.1:9/v1"
    settings.SWEEP_INTERVAL_S = 0
    alice = make_person("alice")
    turns = [queue_turn(alice) for _ in range(3)]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE credit_holds SET expires_at = clock_timestamp() + interval '1 second'")
    return turns


def queue_turn(person) -> OpenedTurn:
    request = TurnRequest(
        user_id=person.id, session_id=make_session(person, "ann"), message="hi", max_output_tokens=100,
        model_alias_override=None, claim=None, request_id="test", in_background=True,
    )  # fmt: skip
    opened = open_turn(request, recover=recover)
    assert isinstance(opened, OpenedTurn)
    return opened


def test_more_turns_than_are_told_of_at_once_all_keep_their_holds(waiting, monkeypatch, settings):
    told = []
    monkeypatch.setattr(queueing, "_BATCH", 1)
    monkeypatch.setattr(queueing, "dispatch", lambda turn_id: told.append(turn_id) or True)
    assert dispatch_waiting() == 1
    assert told == [waiting[0].id]
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() + make_interval(secs => %s)", [settings.HOLD_TTL_S - 30])
        (late,) = cursor.fetchone()
    assert CreditHold.objects.filter(reference_id__in=[turn.id for turn in waiting], expires_at__gt=late).count() == 3


def test_a_broker_that_is_away_is_not_asked_again_in_the_same_sweep(waiting, monkeypatch):
    asked = []
    monkeypatch.setattr(queueing, "dispatch", lambda turn_id: bool(asked.append(turn_id)))
    assert dispatch_waiting() == 0
    assert asked == [waiting[0].id]

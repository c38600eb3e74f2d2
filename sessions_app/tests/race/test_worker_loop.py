"""A worker's first turns at once, and turns that reach it while it is being stopped."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from billing.models import CreditWallet, LLMCallEvent
from config.core.tests.racing import at_once
from sessions_app.models import Turn
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.turns import worker_loop
from sessions_app.turns.opening import open_turn
from sessions_app.turns.recovery import recover
from sessions_app.turns.turn import OpenedTurn, TurnRequest

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def a_new_worker(settings):
    settings.DRAIN_TIMEOUT_S = 0
    worker_loop._running_loop.cache_clear()
    yield
    worker_loop._running_loop.cache_clear()
    worker_loop._stopping.clear()


def queue_turn(person) -> OpenedTurn:
    request = TurnRequest(
        user_id=person.id, session_id=make_session(person, "ann"), message="hi", max_output_tokens=100,
        model_alias_override=None, claim=None, request_id="test", in_background=True,
    )  # fmt: skip
    opened = open_turn(request, recover=recover)
    assert isinstance(opened, OpenedTurn)
    return opened


def test_the_first_turns_of_a_worker_share_one_loop():
    assert len({id(loop) for loop in at_once(*[worker_loop._loop] * 16)}) == 1


def test_a_turn_that_is_claimed_while_the_worker_is_stopped_is_ended(settings, monkeypatch):
    """Claimed before draining began, running only after it: nobody else would stop it."""
    with ScriptedProvider(lambda _body: Reply(fault="hang")) as provider:
        settings.LLM_BASE_URL = provider.base_url
        alice = make_person("alice")
        turn = queue_turn(alice)
        take = worker_loop.take

        def take_as_the_worker_is_stopped(turn_id):
            opened = take(turn_id)
            worker_loop.drain()
            return opened

        monkeypatch.setattr(worker_loop, "take", take_as_the_worker_is_stopped)
        waiting = threading.Thread(target=partial(worker_loop.run_queued, turn.id), daemon=True)
        waiting.start()
        waiting.join(timeout=10)
        assert not waiting.is_alive()
    assert Turn.objects.get(id=turn.id).status == "interrupted"
    assert not LLMCallEvent.objects.filter(turn_id=turn.id).exists()
    assert CreditWallet.objects.get(user_id=alice.id).held == 0


def test_a_message_that_comes_after_that_leaves_its_turn_to_another_worker(settings):
    settings.LLM_BASE_URL = "http://127.0.0.1:9/v1"
    turn = queue_turn(make_person("alice"))
    worker_loop.drain()
    worker_loop.run_queued(turn.id)
    assert Turn.objects.get(id=turn.id).status == "queued"

"""The sweeper: what lost its lease is billed from the journal, once, and one bad turn does not stop the others."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connection

from billing.models import CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from config.core.idempotency import Claim
from config.core.ids import uuid7
from pricing.models import ModelPricing
from pricing.rating import TokenPools
from sessions_app import leases
from sessions_app.llm.types import ChatResult
from sessions_app.models import Message, Turn, TurnStep
from sessions_app.tests.makers import make_person, make_session
from sessions_app.turns import ending_rows, rows
from sessions_app.turns.admission import admit
from sessions_app.turns.ending_rows import Conclusion, TurnEnd
from sessions_app.turns.meter import Meter, TurnIds
from sessions_app.turns.opening import open_turn
from sessions_app.turns.outcome import INTERRUPTED, RunReport, conclude
from sessions_app.turns.preparing import price_of
from sessions_app.turns.recovery import recover, recover_lost_turns
from sessions_app.turns.settling import TurnRecord, settle_turn
from sessions_app.turns.turn import OpenedTurn, TurnRequest

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def a_provider(settings):
    settings.LLM_BASE_URL = "http://127.0.0.1:9/v1"
    # Leases count anew when the database restarts, and a test's database has just started.
    settings.TURN_LEASE_S = 1


def open_for(person, *keys) -> OpenedTurn:
    session = make_session(person, *keys, model_alias="gpt-4o-mini")
    request = TurnRequest(
        user_id=person.id, session_id=session, message="hi", max_output_tokens=100, model_alias_override=None,
        claim=None, request_id="test",
    )  # fmt: skip
    opened = open_turn(request, recover=recover)
    assert isinstance(opened, OpenedTurn)
    return opened


def journal_first_call(turn: OpenedTurn) -> None:
    """As the run does it between the first call and the second."""
    ids = TurnIds(turn.id, turn.request.session_id, turn.prepared.room_id, turn.request.user_id)
    meter = Meter(ids=ids, book=turn.prepared.book, first_step_id=turn.first_step_id)
    first, second = turn.prepared.plan.speakers[:2]
    step = meter.begin(first, purpose="agent")
    result = ChatResult(
        status="success", text="first", pools=TokenPools(output=10_000), usage_source="provider",
        raw_usage={"completion_tokens": 10_000}, provider_model="m", finish_reason="stop", failure=None, usage_flags=(),
        latency_ms=5, first_text_ms=1, attempts=1,
    )  # fmt: skip
    meter.finish(step, result, price=price_of(turn.prepared.book, first.model_alias))
    meter.begin(second, purpose="agent")
    assert rows.journal(turn_id=turn.id, claim=turn.lease_claim, steps=meter.unjournaled())


def lose_the_lease(*turns: OpenedTurn) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE turns SET lease_expires_at = now() - interval '1 hour' WHERE id = ANY(%s)",
            [[t.id for t in turns]],
        )


def test_finished_calls_are_billed_and_kept_and_the_running_one_is_recorded():
    alice = make_person("alice")
    turn = open_for(alice, "ann", "ben", "cal")
    journal_first_call(turn)
    lose_the_lease(turn)
    assert recover_lost_turns() == 1
    stored = Turn.objects.get(id=turn.id)
    assert (stored.status, stored.error_code, stored.lease_expires_at) == ("interrupted", "turn_interrupted", None)
    events = LLMCallEvent.objects.filter(turn_id=turn.id).order_by("call_index")
    assert [(e.status, e.usage_source, e.credits_charged, e.usage_flags) for e in events] == [
        ("success", "provider", Decimal(1), ["charge_above_hold"]),
        ("error", "none", Decimal(0), ["process_died"]),
    ]
    assert [m.content for m in Message.objects.filter(turn_id=turn.id).order_by("id")] == ["hi", "first"]
    assert [s.status for s in TurnStep.objects.filter(turn_id=turn.id).order_by("step_index")] == ["success", "error"]
    assert CreditHold.objects.get(reference_id=turn.id).status == "settled"
    assert CreditWallet.objects.get(user_id=alice.id).balance == Decimal(9)


def test_a_turn_is_recovered_once():
    turn = open_for(make_person("alice"), "ann", "ben")
    journal_first_call(turn)
    lose_the_lease(turn)
    assert [recover(turn.id), recover(turn.id), recover_lost_turns()] == [True, False, 0]
    assert CreditTransaction.objects.filter(reference_id=turn.id).count() == 1


def test_a_turn_that_has_its_lease_is_left_alone():
    turn = open_for(make_person("alice"), "ann")
    assert (recover(turn.id), recover_lost_turns()) == (False, 0)
    assert rows.renew_leases([(turn.id, turn.lease_claim)]) == {turn.id: False}
    assert rows.renew_leases([(turn.id, uuid4())]) == {}
    lose_the_lease(turn)
    recover_lost_turns()


def test_the_old_runner_writes_nothing_once_its_turn_was_taken_over():
    turn = open_for(make_person("alice"), "ann", "ben")
    lose_the_lease(turn)
    assert leases.take_over("turns", turn.id, claim=uuid4())
    assert rows.renew_leases([(turn.id, turn.lease_claim)]) == {}
    assert rows.journal(turn_id=turn.id, claim=turn.lease_claim, steps=[]) is False
    conclusion = Conclusion(TurnEnd("completed", "", "", "", []), [])
    assert ending_rows.end(turn_id=turn.id, claim=turn.lease_claim, conclusion=conclusion, steps=[]) is False
    assert Turn.objects.get(id=turn.id).status == "running"
    lose_the_lease(turn)
    assert recover_lost_turns() == 1


def test_one_turn_that_cannot_be_settled_does_not_keep_the_others_from_it():
    bad, good = open_for(make_person("alice"), "ann", "ben"), open_for(make_person("bob"), "ann")
    journal_first_call(bad)
    TurnStep.objects.filter(turn_id=bad.id, step_index=1).update(call={"event_id": str(uuid7())})
    lose_the_lease(bad, good)
    assert recover_lost_turns() == 1
    assert Turn.objects.get(id=good.id).status == "interrupted"
    assert Turn.objects.get(id=bad.id).status == "running"


def finished_meter(turn: OpenedTurn, pools: TokenPools, *, provider_model: str = "m") -> Meter:
    ids = TurnIds(turn.id, turn.request.session_id, turn.prepared.room_id, turn.request.user_id)
    meter = Meter(ids=ids, book=turn.prepared.book, first_step_id=turn.first_step_id)
    (speaker,) = turn.prepared.plan.speakers
    result = ChatResult(
        status="success", text="text", pools=pools, usage_source="provider", raw_usage=None,
        provider_model=provider_model, finish_reason="stop", failure=None, usage_flags=(), latency_ms=5,
        first_text_ms=1, attempts=1,
    )  # fmt: skip
    step = meter.begin(speaker, purpose="agent")
    meter.finish(step, result, price=price_of(turn.prepared.book, speaker.model_alias))
    return meter


def record_of(turn: OpenedTurn, meter: Meter) -> TurnRecord:
    conclusion = conclude(steps=meter.steps, report=RunReport(finished=True), summary_plan=None)
    return TurnRecord(
        meter.ids, turn.lease_claim, turn.prepared.book, conclusion, meter.steps, meter.calls, meter.tools()
    )


def test_settling_again_after_a_commit_whose_answer_was_lost_gives_the_same_outcome():
    alice = make_person("alice")
    turn = open_for(alice, "ann")
    record = record_of(turn, finished_meter(turn, TokenPools(output=10_000)))
    first, again = settle_turn(record), settle_turn(record)
    assert first is not None
    assert again is not None
    assert (first.charged, first.balance_after) == (again.charged, again.balance_after) == (Decimal(1), Decimal(9))
    assert (first.settled_now, again.settled_now) == (True, False)
    assert CreditTransaction.objects.filter(reference_id=turn.id).count() == 1
    assert Message.objects.filter(turn_id=turn.id).count() == 2


def test_counts_that_no_call_can_have_are_flagged_and_charged_nothing_and_the_turn_settles():
    alice = make_person("alice")
    ModelPricing.objects.filter(model_alias="gpt-4o-mini").update(multiplier=Decimal("50000"))
    turn = open_for(alice, "ann")
    settlement = settle_turn(record_of(turn, finished_meter(turn, TokenPools(output=2**31 - 1))))
    assert settlement is not None
    assert settlement.charged == 0
    event = LLMCallEvent.objects.get(turn_id=turn.id)
    assert (event.usage_flags, event.output_tokens) == (["absurd_charge"], 0)


def test_the_longest_model_name_that_a_price_may_have_can_be_settled():
    turn = open_for(make_person("alice"), "ann")
    name = "m" * 255
    assert settle_turn(record_of(turn, finished_meter(turn, TokenPools(output=1), provider_model=name))) is not None
    assert LLMCallEvent.objects.get(turn_id=turn.id).provider_model == name


def test_a_retry_with_the_key_of_a_lost_turn_learns_what_became_of_it():
    alice = make_person("alice")
    session = make_session(alice, "ann", model_alias="gpt-4o-mini")
    request = TurnRequest(
        user_id=alice.id, session_id=session, message="hi", max_output_tokens=100, model_alias_override=None,
        claim=Claim(alice.id, "key", "print"), request_id="test",
    )  # fmt: skip
    opened = admit(request)
    assert isinstance(opened, OpenedTurn)
    running = admit(request)
    assert isinstance(running, Turn)
    assert running.status == "running"
    lose_the_lease(opened)
    ended = admit(request)
    assert isinstance(ended, Turn)
    assert (ended.id, ended.status) == (opened.id, "interrupted")


def test_a_call_that_was_reserved_and_never_made_ends_with_its_turn_and_is_no_event():
    turn = open_for(make_person("alice"), "ann")
    ids = TurnIds(turn.id, turn.request.session_id, turn.prepared.room_id, turn.request.user_id)
    meter = Meter(ids=ids, book=turn.prepared.book, first_step_id=turn.first_step_id)
    meter.begin(turn.prepared.plan.speakers[0], purpose="agent")
    conclusion = conclude(steps=meter.steps, report=RunReport(stopped_by=INTERRUPTED), summary_plan=None)
    record = TurnRecord(
        ids, turn.lease_claim, turn.prepared.book, conclusion, meter.ended(), meter.calls, meter.tools()
    )
    assert settle_turn(record) is not None
    assert [step.status for step in TurnStep.objects.filter(turn_id=turn.id)] == ["cancelled"]
    assert LLMCallEvent.objects.filter(turn_id=turn.id).count() == 0
    assert CreditHold.objects.get(reference_id=turn.id).status == "released"

"""The oracle is worth what it finds: each test plants one fault in a run that is otherwise in order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from config.embedded.chaos.evidence import (
    Attempt,
    Evidence,
    Fault,
    ProviderCall,
    StoredEvent,
    StoredTurn,
    StoredWallet,
)
from config.embedded.chaos.oracle import violations

ALICE = "alice"
FREE_WITHIN_S = 10.0
# 0.35 × 1000 + 1.0 × 50 = 400 OE tokens, × 2 / 10 000.
PRICE = Decimal("0.08000000")
CALL = ProviderCall("t1-1", "web-1-1", 1_000, 50, 9_000, received_at=100.0, ended_at=103.0, is_complete=True)
EVENT = StoredEvent(
    "t1", 1, ALICE, "success", "provider", (), 1_000, 0, 0, 50, Decimal("2.0000"), PRICE, debits=(-PRICE,)
)
LOST = replace(
    EVENT,
    status="error",
    usage_source="none",
    flags=("process_died",),
    fresh=0,
    output=0,
    charged=Decimal(0),
    debits=(),
)
TURN = StoredTurn("t1", ALICE, "s1", "completed", "key", 104.0)


def run_of(call=CALL, event=EVENT, turn=TURN, attempt=None, *, faults=(), spent=None):
    """One turn of one call by one user with 10 credits."""
    charged = event.charged if event is not None and spent is None else spent or Decimal(0)
    return Evidence(
        calls=[call] if call is not None else [],
        events=[event] if event is not None else [],
        turns=[turn] if turn is not None else [],
        attempts=[attempt or Attempt(ALICE, "key", "post", {"t1"}, {"t1": turn.status if turn else "completed"})],
        faults=list(faults),
        wallets=[StoredWallet(ALICE, Decimal(10), -charged, 10 - charged, Decimal(0))],
    )


def found(evidence):
    return violations(evidence, free_within_s=FREE_WITHIN_S)


def killed(process="web-1-1", at=103.5):
    return Fault("web", process, at, 20, 5)


def test_a_run_in_order_has_none():
    assert found(run_of()) == []


def test_a_double_bill_is_found():
    assert found(run_of(event=replace(EVENT, debits=(-PRICE, -PRICE)), spent=2 * PRICE)) == [
        "call t1-1 costs 0.08000000, its debits are: -0.08000000, -0.08000000",
        "wallet of alice: granted 10, calls cost 0.08000000, entries took 0.16000000, balance 9.84000000",
    ]


def test_a_call_with_two_events_is_found():
    evidence = run_of(spent=2 * PRICE)
    evidence.events.append(EVENT)
    assert found(evidence) == ["call t1-1 has more than one event"]


def test_a_missing_debit_is_found():
    assert found(run_of(event=replace(EVENT, debits=()), spent=Decimal(0)))[0] == (
        "call t1-1 costs 0.08000000, its debits are: none"
    )


def test_a_missing_event_is_found():
    assert found(run_of(event=None)) == ["call t1-1 has no event"]


def test_a_wrong_token_count_is_found_though_event_debit_and_wallet_agree():
    more = Decimal("0.08200000")
    assert found(run_of(event=replace(EVENT, output=60, charged=more, debits=(-more,)))) == [
        "call t1-1 by web-1-1 (completed, event success): billed 1000+60 tokens, the provider counted 1000+50"
    ]


def test_a_charge_that_its_tokens_do_not_cost_is_found():
    more = Decimal("0.09000000")
    assert found(run_of(event=replace(EVENT, charged=more, debits=(-more,)))) == [
        "call t1-1 is charged 0.09000000, its tokens cost 0.08000000"
    ]


@pytest.mark.parametrize("status", ["queued", "running"])
def test_an_unfinished_turn_is_found(status):
    turn = replace(TURN, status=status, finished_at=None)
    attempt = Attempt(ALICE, "key", "post", {"t1"})
    assert found(run_of(turn=turn, attempt=attempt)) == [f"turn t1 has no end: it is {status}"]


def test_a_bill_for_what_the_provider_never_saw_is_found():
    assert found(run_of(call=None)) == ["call t1-1 is billed 0.08000000, the provider never saw it"]


def test_a_call_for_a_turn_that_was_lost_is_found():
    assert "call t1-1 was made for a turn that is not stored" in found(run_of(event=None, turn=None))


def test_a_call_that_was_made_twice_is_found():
    evidence = run_of()
    evidence.calls.append(replace(CALL, process="worker-1"))
    assert found(evidence) == ["call t1-1 reached the provider 2 times"]


def test_an_answer_in_full_that_a_living_process_heard_must_be_billed():
    (problem,) = found(run_of(event=LOST, turn=replace(TURN, status="interrupted")))
    assert problem.endswith("not billed, and its process lived")


def test_a_call_that_died_with_its_process_is_billed_nothing():
    broken = replace(CALL, is_complete=False, ended_at=103.5, sent_text="Every answer")
    turn = replace(TURN, status="interrupted", finished_at=109.0)
    assert found(run_of(call=broken, event=LOST, turn=turn, faults=[killed()])) == []


def test_an_answer_that_came_just_before_the_kill_may_be_lost():
    turn = replace(TURN, status="interrupted", finished_at=109.0)
    assert found(run_of(event=LOST, turn=turn, faults=[killed()])) == []


def test_an_answer_that_came_long_before_the_kill_may_not():
    turn = replace(TURN, status="interrupted", finished_at=119.0)
    (problem,) = found(run_of(event=LOST, turn=turn, faults=[killed(at=110.0)]))
    assert problem.endswith("not billed, though its process lived for 7.0 s after the answer")


def test_unless_the_database_was_away():
    turn = replace(TURN, status="interrupted", finished_at=119.0)
    away = Fault("postgresql", "postgresql", 104.0, 20, 20, ready_at=106.0)
    assert found(run_of(event=LOST, turn=turn, faults=[away, killed(at=110.0)])) == []


def test_a_call_before_the_turns_last_one_may_never_be_lost():
    evidence = run_of(event=LOST, turn=replace(TURN, status="interrupted", finished_at=109.0), faults=[killed()])
    evidence.calls.append(replace(CALL, request_id="t1-2", is_complete=False))
    evidence.events.append(replace(LOST, call_index=2))
    (problem,) = found(evidence)
    assert problem.endswith("not billed, though the turn went on after it")


def test_a_cancelled_call_is_billed_the_estimate_of_what_was_sent_and_no_more():
    broken = replace(CALL, is_complete=False, sent_text="Every answer")
    price = Decimal("0.07060000")  # 0.35 × 1000 + 3
    event = replace(EVENT, status="cancelled", usage_source="estimated", output=3, charged=price, debits=(-price,))
    cancelled = replace(TURN, status="cancelled")
    assert found(run_of(call=broken, event=event, turn=cancelled)) == []
    (problem,) = found(run_of(call=replace(broken, sent_text="Every"), event=event, turn=cancelled))
    assert "billed 1000+3 tokens" in problem
    (problem,) = found(run_of(call=broken, event=event))
    assert problem.endswith("estimated, though nobody cancelled")


def test_a_call_that_was_cancelled_after_its_report_of_usage_is_billed_what_was_reported():
    event = replace(EVENT, status="cancelled", usage_source="partial")
    cancelled = replace(TURN, status="cancelled")
    assert found(run_of(event=event, turn=cancelled)) == []
    assert found(run_of(event=replace(event, status="success"), turn=cancelled)) == [
        "call t1-1 by web-1-1 (cancelled, event success): billed 1000+50 tokens, the provider counted 1000+50"
    ]


def test_a_session_that_stays_blocked_is_found():
    turn = replace(TURN, status="interrupted", finished_at=120.0)
    (problem,) = found(run_of(turn=turn, faults=[killed()]))
    assert problem == "turn t1 blocked its session for 16.5 s after its process died"
    worker = Fault("worker", "worker-1", 112.0, 20, 5)
    assert found(run_of(turn=turn, faults=[killed(), worker])) == []


def test_a_wallet_that_still_holds_is_found():
    evidence = run_of()
    evidence.wallets = [replace(evidence.wallets[0], held=Decimal("0.5"))]
    assert found(evidence) == ["wallet of alice: 0.5 still held"]


def test_a_key_that_made_two_turns_is_found():
    evidence = run_of()
    evidence.turns.append(replace(TURN, id="t2"))
    assert found(evidence) == ["key key made 2 turns"]


def test_an_answer_with_another_turn_than_the_keys_is_found():
    attempt = Attempt(ALICE, "key", "post", {"t1", "t9"})
    assert found(run_of(attempt=attempt)) == ["key key was answered with ['t1', 't9'], stored are ['t1']"]


def test_an_end_that_was_told_and_is_not_stored_is_found():
    attempt = Attempt(ALICE, "key", "post", {"t1"}, {"t1": "completed"})
    evidence = run_of(turn=replace(TURN, status="partial"), attempt=attempt)
    assert found(evidence) == ["turn t1 was told to have ended as completed, it is partial"]


def test_what_surprised_a_client_is_told():
    attempt = Attempt(ALICE, "key", "post", {"t1"}, surprises=["POST was answered 500 "])
    assert found(run_of(attempt=attempt)) == ["post key: POST was answered 500 "]

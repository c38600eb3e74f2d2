"""Crash at each statement of settling: all of it or nothing, and a retry that gives the same answer.

A turn of two calls, one of which crosses the alert threshold of a wallet with a limit, so that every statement that
settling can make is among them; and a direct completion. Faults: an error before or after each statement, the database
connection torn at each, and a commit that fails or whose answer is lost.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from billing.alerts import announcing
from billing.invariants import check_wallets
from billing.limits import services as limits
from billing.models import (
    Alert,
    CreditAllocation,
    CreditGrant,
    CreditHold,
    CreditTransaction,
    CreditWallet,
    LLMCallEvent,
    SpendingLimit,
)  # fmt: skip
from billing.tests.makers import credits
from config.core.ids import uuid7
from pricing import cache
from pricing.rating import TokenPools
from sessions_app.completions import rows as completion_rows
from sessions_app.completions.asked import CompletionRequest
from sessions_app.completions.opening import OpenedCompletion, open_completion
from sessions_app.completions.settling import settle_completion
from sessions_app.llm.types import ChatResult
from sessions_app.llm.types import Message as Said
from sessions_app.models import Completion, Message, Turn, TurnStep
from sessions_app.tests.makers import make_person, make_session
from sessions_app.turns import rows
from sessions_app.turns.meter import Meter, TurnIds, metered
from sessions_app.turns.opening import open_turn
from sessions_app.turns.outcome import RunReport, conclude
from sessions_app.turns.preparing import price_of
from sessions_app.turns.recovery import recover
from sessions_app.turns.settling import TurnRecord, settle_turn
from sessions_app.turns.turn import OpenedTurn, TurnRequest

pytestmark = pytest.mark.django_db(transaction=True)

# Fence (and all of the turn's own rows), wallet's lock, lots and hold, the write, the alert; limits: read, counted.
TURN_STATEMENTS = 7
COMPLETION_STATEMENTS = 7
FAULTS = ("before", "after", "torn")


@pytest.fixture(autouse=True)
def _settings(settings, monkeypatch):
    settings.LLM_BASE_URL = "http://127.0.0.1:9/v1"
    settings.LOW_BALANCE_THRESHOLD = credits("9.5")
    monkeypatch.setattr(announcing, "_tell", lambda: None)


def result(tokens: int) -> ChatResult:
    return ChatResult(
        status="success", text="said", pools=TokenPools(output=tokens), usage_source="provider",
        raw_usage={"completion_tokens": tokens}, provider_model="m", finish_reason="stop", failure=None, usage_flags=(),
        latency_ms=5, first_text_ms=1, attempts=1,
    )  # fmt: skip


@dataclass
class Work:
    """Something that is ready to be settled. `settle` may be called again and again."""

    user_id: UUID
    settle: Any
    tables: tuple[Any, ...]

    def state(self) -> dict[str, Any]:
        """Every row that settling may touch."""
        found: dict[str, Any] = {}
        for model in self.tables:
            names = {field.attname for field in model._meta.concrete_fields}
            rows_ = model.objects.all()
            if "user_id" in names:
                rows_ = rows_.filter(user_id=self.user_id)
            found[model.__name__] = sorted(map(str, rows_.values_list()))
        return found


MONEY = (CreditWallet, CreditGrant, CreditTransaction, CreditAllocation, CreditHold, LLMCallEvent, Alert, SpendingLimit)


def ready(kind: str) -> Work:
    alice = make_person("alice")
    limits.create(
        user_id=alice.id, subject="user", subject_id=alice.id, period="day", amount=credits("50"), tz="UTC", set_by="t"
    )
    if kind == "turn":
        return Work(alice.id, _turn(alice), (*MONEY, Turn, TurnStep, Message))
    return Work(alice.id, _completion(alice), (*MONEY, Completion))


def _turn(alice):
    request = TurnRequest(
        user_id=alice.id, session_id=make_session(alice, "ann", "ben", model_alias="gpt-4o-mini"), message="hi",
        max_output_tokens=100, model_alias_override=None, claim=None, request_id="test",
    )  # fmt: skip
    turn = open_turn(request, recover=recover)
    assert isinstance(turn, OpenedTurn)
    ids = TurnIds(turn.id, request.session_id, turn.prepared.room_id, alice.id)
    meter = Meter(ids=ids, book=turn.prepared.book, first_step_id=turn.first_step_id)
    for tokens, speaker in zip((5_000, 10_000), turn.prepared.plan.speakers, strict=True):
        step = meter.begin(speaker, purpose="agent")
        meter.finish(step, result(tokens), price=price_of(turn.prepared.book, speaker.model_alias))
        assert rows.journal(turn_id=turn.id, claim=turn.lease_claim, steps=meter.ended())
    conclusion = conclude(steps=meter.steps, report=RunReport(finished=True), summary_plan=None)
    record = TurnRecord(ids, turn.lease_claim, turn.prepared.book, conclusion, meter.steps, meter.calls, meter.tools())
    return lambda: settle_turn(record)


def _completion(alice):
    request = CompletionRequest(alice.id, "gpt-4o-mini", (Said("user", "hi"),), 100, 1.0)
    opened = open_completion(request)
    assert isinstance(opened, OpenedCompletion)
    call = metered(
        result(15_000), price=opened.price, weights=cache.current().weights, call_index=1, purpose="direct",
        request_id=str(uuid7()), called_at=datetime.now(UTC),
    )  # fmt: skip
    return lambda: settle_completion(
        id_=opened.id, user_id=alice.id, claim=opened.claim, book=opened.book, call=call, status="completed"
    )


class Fault:
    """Breaks off at one statement of those that are made while it is active, and counts them."""

    def __init__(self, at: int, how: str = "before") -> None:
        self.at, self.how, self.seen = at, how, 0

    def __call__(self, execute, sql, parameters, many, context):
        self.seen += 1
        if self.seen != self.at:
            return execute(sql, parameters, many, context)
        if self.how == "before":
            raise OperationalError("injected")
        if self.how == "torn":
            terminate(context["connection"].connection.info.backend_pid)
        outcome = execute(sql, parameters, many, context)
        if self.how == "after":
            raise OperationalError("injected")
        return outcome


def terminate(pid: int) -> None:
    config = connection.settings_dict
    with psycopg.connect(
        host=config["HOST"], port=config["PORT"], user=config["USER"], password=config["PASSWORD"], dbname="postgres",
        autocommit=True,
    ) as beside:  # fmt: skip
        beside.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@contextmanager
def broken_commit(monkeypatch, *, is_lost: bool):
    """A commit that does not come through, or that does and says nothing."""
    real = connection._commit

    def commit():
        if is_lost:
            real()
        raise OperationalError("injected")

    with monkeypatch.context() as patched:
        patched.setattr(connection, "_commit", commit)
        yield


def ensure_settled_once(work: Work) -> None:
    """The retry's answer, once more the same, and the money exactly once."""
    first = work.settle()
    after = work.state()
    second = work.settle()
    assert (first.charged, first.balance_after) == (second.charged, second.balance_after)
    assert (first.charged, first.balance_after) == (Decimal("1.5"), Decimal("8.5"))
    assert not second.settled_now
    assert work.state() == after
    debits = CreditTransaction.objects.filter(user_id=work.user_id, kind="debit")
    assert sum(debit.amount for debit in debits) == Decimal("-1.5")
    assert debits.count() == LLMCallEvent.objects.filter(user_id=work.user_id).count()
    assert SpendingLimit.objects.get(user_id=work.user_id).spent == Decimal("1.5")
    assert Alert.objects.filter(user_id=work.user_id).count() == 1
    assert CreditWallet.objects.get(user_id=work.user_id).held == 0
    assert list(check_wallets(user_id=work.user_id)) == []


@pytest.mark.parametrize(("kind", "statements"), [("turn", TURN_STATEMENTS), ("completion", COMPLETION_STATEMENTS)])
def test_these_are_all_its_statements(kind, statements):
    work = ready(kind)
    counting = Fault(at=0)
    with connection.execute_wrapper(counting):
        work.settle()
    assert counting.seen == statements
    ensure_settled_once(work)


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize(
    ("kind", "at"),
    [*(("turn", at) for at in range(1, TURN_STATEMENTS + 1)),
     *(("completion", at) for at in range(1, COMPLETION_STATEMENTS + 1))],
)  # fmt: skip
def test_a_crash_at_each_statement_leaves_nothing_and_the_retry_all(kind, at, how):
    work = ready(kind)
    before = work.state()
    fault = Fault(at, how)
    with pytest.raises((DatabaseError, InterfaceError)), connection.execute_wrapper(fault):
        work.settle()
    assert fault.seen == at
    connection.close()
    assert work.state() == before
    assert list(check_wallets(user_id=work.user_id)) == []
    ensure_settled_once(work)


@pytest.mark.parametrize("kind", ["turn", "completion"])
def test_a_commit_that_fails_leaves_nothing_and_the_retry_all(kind, monkeypatch):
    work = ready(kind)
    before = work.state()
    with broken_commit(monkeypatch, is_lost=False), pytest.raises(OperationalError):
        work.settle()
    connection.close()
    assert work.state() == before
    ensure_settled_once(work)


@pytest.mark.parametrize("kind", ["turn", "completion"])
def test_a_commit_whose_answer_is_lost_is_found_by_the_retry(kind, monkeypatch):
    work = ready(kind)
    with broken_commit(monkeypatch, is_lost=True), pytest.raises(OperationalError):
        work.settle()
    connection.close()
    after = work.state()
    ensure_settled_once(work)
    assert work.state() == after


def test_somebody_else_who_settles_meanwhile_has_the_say():
    """The fence: whoever lost the claim writes nothing, not even after a crash."""
    work = ready("completion")
    completion = Completion.objects.get(user_id=work.user_id)
    Completion.objects.filter(id=completion.id).update(claim=uuid4())
    before = work.state()
    assert work.settle() is None
    assert work.state() == before
    Completion.objects.filter(id=completion.id).update(claim=completion.claim)
    assert completion_rows.end(id_=completion.id, claim=uuid4(), status="completed", answer=None) is False
    ensure_settled_once(work)

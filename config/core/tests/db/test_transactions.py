from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from config.core import transactions
from config.core.ids import uuid7
from config.core.models import IdempotencyKey
from config.core.postgresql.base import _closed_by_the_server
from config.core.transactions import in_thread, joined_atomic, patiently, retrying, sqlstate

REQUEST = ContextVar("REQUEST", default="none")


def query(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def other_connection() -> psycopg.Connection[Any]:
    return psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}, autocommit=True)


@pytest.mark.django_db
def test_a_unit_runs_in_a_thread_of_ours_and_gives_its_connection_back() -> None:
    def unit() -> tuple[str, int]:
        return threading.current_thread().name, query("SELECT pg_backend_pid()")

    name, pid = asyncio.run(in_thread(unit))
    assert name.startswith("database")
    with other_connection() as other:
        alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        deadline = time.monotonic() + 10
        # The server notices a closed connection a moment later.
        while other.execute(alive, [pid]).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.django_db
def test_a_unit_sees_the_caller_s_context_and_hands_on_its_error() -> None:
    def unit() -> str:
        query("SELECT 1")
        raise LookupError(REQUEST.get())

    async def ask() -> None:
        REQUEST.set("r-1")
        await in_thread(unit)

    with pytest.raises(LookupError, match="r-1"):
        asyncio.run(ask())


@pytest.mark.django_db
def test_a_cancelled_awaiter_does_not_stop_the_unit() -> None:
    started, released, finished = threading.Event(), threading.Event(), threading.Event()

    def unit() -> None:
        started.set()
        assert released.wait(10)
        finished.set()

    async def give_up() -> None:
        task = asyncio.create_task(in_thread(unit))
        assert await asyncio.to_thread(started.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert not finished.is_set()
        released.set()

    asyncio.run(give_up())
    assert finished.wait(10)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_closed_is_known_without_asking_it() -> None:
    with other_connection() as idle, other_connection() as other:
        assert _closed_by_the_server(idle) is False
        (pid,) = idle.execute("SELECT pg_backend_pid()").fetchone()
        assert _closed_by_the_server(idle) is False
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert _closed_by_the_server(idle) is True
        idle.close()
        assert _closed_by_the_server(idle) is True


@pytest.mark.django_db(transaction=True)
def test_a_lock_that_somebody_holds_for_a_moment_is_waited_out() -> None:
    """A real lock timeout is waited out in the event loop, not in a thread that others need."""
    row = IdempotencyKey.objects.create(caller_id=uuid7(), key="k", resource_id=uuid7())
    with other_connection() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM idempotency_keys FOR UPDATE")
        calls = []

        def work() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                calls.append(1)
                if len(calls) == 3:
                    other.execute("ROLLBACK")
                cursor.execute("SET LOCAL lock_timeout = '20ms'")
                IdempotencyKey.objects.filter(pk=row.pk).update(key="changed")

        asyncio.run(patiently(work, patience_s=10))
    assert len(calls) == 3
    assert IdempotencyKey.objects.get().key == "changed"


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_ended_while_its_process_was_paused_is_run_again() -> None:
    calls = []

    def work() -> None:
        with transaction.atomic():
            calls.append(query("SELECT set_config('idle_in_transaction_session_timeout', '50', true)"))
            if len(calls) == 1:
                time.sleep(0.5)
            IdempotencyKey.objects.create(caller_id=uuid7(), key="kept", resource_id=uuid7())

    asyncio.run(patiently(work, patience_s=10))
    assert len(calls) == 2
    assert IdempotencyKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_lock_that_stays_is_given_up_with_postgresql_s_state() -> None:
    IdempotencyKey.objects.create(caller_id=uuid7(), key="k", resource_id=uuid7())
    with other_connection() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM idempotency_keys FOR UPDATE")

        def work() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '10ms'")
                cursor.execute("UPDATE idempotency_keys SET key = 'changed'")

        with pytest.raises(OperationalError) as raised:
            retrying(work, attempts=2)
        other.execute("ROLLBACK")
    assert sqlstate(raised.value) == transactions.LOCK_TIMEOUT_SQLSTATE
    assert IdempotencyKey.objects.get().key == "k"


@pytest.mark.django_db
def test_inside_a_transaction_nothing_is_retried() -> None:
    """The whole transaction is lost by then; only whoever opened it can run it again."""
    calls = []

    def work() -> None:
        calls.append(1)
        error = OperationalError()
        error.__cause__ = psycopg.errors.DeadlockDetected()
        raise error

    with pytest.raises(OperationalError), transaction.atomic():
        retrying(work)
    assert len(calls) == 1


def savepoints(captured: Any) -> int:
    return sum(query["sql"].startswith("SAVEPOINT") for query in captured)


@pytest.mark.django_db(transaction=True)
def test_a_joined_transaction_has_no_savepoint_and_falls_with_the_whole() -> None:
    with CaptureQueriesContext(connection) as captured, pytest.raises(LookupError), transaction.atomic():
        IdempotencyKey.objects.create(caller_id=uuid7(), key="outer", resource_id=uuid7())
        with joined_atomic():
            IdempotencyKey.objects.create(caller_id=uuid7(), key="inner", resource_id=uuid7())
            raise LookupError
    assert savepoints(captured) == 0
    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_caller_cannot_go_on_after_an_error_in_a_transaction_that_it_shares() -> None:
    with pytest.raises(TransactionManagementError), transaction.atomic():
        with suppress(LookupError), joined_atomic():
            raise LookupError
        IdempotencyKey.objects.create(caller_id=uuid7(), key="outer", resource_id=uuid7())
    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_alone_it_is_a_transaction_of_its_own() -> None:
    with joined_atomic():
        IdempotencyKey.objects.create(caller_id=uuid7(), key="kept", resource_id=uuid7())
    with suppress(LookupError), joined_atomic():
        IdempotencyKey.objects.create(caller_id=uuid7(), key="lost", resource_id=uuid7())
        raise LookupError
    assert IdempotencyKey.objects.get().key == "kept"


@pytest.mark.django_db
def test_within_the_transaction_of_a_test_case_it_can_still_roll_back_alone() -> None:
    with CaptureQueriesContext(connection) as captured, suppress(LookupError), joined_atomic():
        IdempotencyKey.objects.create(caller_id=uuid7(), key="lost", resource_id=uuid7())
        raise LookupError
    assert savepoints(captured) == 1
    assert not IdempotencyKey.objects.exists()

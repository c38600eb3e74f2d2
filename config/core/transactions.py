"""Units of database work: run from async code in a thread, retried where the database asks for it."""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Literal, TypeVar

import structlog
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, close_old_connections, connection, transaction

log = structlog.get_logger(__name__)
T = TypeVar("T")
Lane = Literal["work", "leases", "broker"]
# What a database that is away raises. PostgreSQL counts as internal errors that it ended a transaction in which this
# process was paused for too long, and that it is a standby for now.
UNAVAILABLE_SQLSTATES = frozenset({"25P03", "25006"})
DATABASE_ERRORS = (OperationalError, InterfaceError, InternalError)
_BROKER_THREADS = 4
# Serialization failure, deadlock: the transaction was rolled back and may simply be run again, at once.
RETRYABLE_SQLSTATES = frozenset({"40001", "40P01"})
# Lock timeout: not retried here, because each try holds a thread for the whole wait. The caller waits elsewhere.
LOCK_TIMEOUT_SQLSTATE = "55P03"
# What a client is told to try again: nothing is wrong with the database, others were at the same rows.
CONTENDED_SQLSTATES = RETRYABLE_SQLSTATES | {LOCK_TIMEOUT_SQLSTATE}


def sqlstate(error: BaseException) -> str | None:
    cause = error.__cause__ or error
    return getattr(cause, "sqlstate", None)


def retrying(work: Callable[[], T], *, attempts: int = 4) -> T:
    """Run one whole transaction, again where it lost a deadlock or a serialization conflict.

    `work` opens its own `transaction.atomic()` and must be safe to run again after a rollback.
    Raises: the last `OperationalError` when the attempts are used up.
    """
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except OperationalError as error:
            if sqlstate(error) not in RETRYABLE_SQLSTATES or attempt == attempts or connection.in_atomic_block:
                raise
            # Jitter keeps two transactions that collided from colliding again.
            time.sleep(random.uniform(0.005, 0.02) * 2**attempt)
    raise AssertionError("unreachable")


def after_commit(tell: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
    """Call `tell` once the surrounding transaction is committed. If that fails, what was committed stays so.

    A named function, because Django logs a robust hook by its name and a `partial` has none.
    """

    def told() -> None:
        tell(*args, **kwargs)

    transaction.on_commit(told, robust=True)


def patience_sql() -> str:
    """An SQL condition, always true, that gives the transaction its lock timeout and its idle timeout.

    It rides on the first statement of a transaction, so it costs no round trip. In a WHERE clause as a sub-select it is
    evaluated before the first row is locked.
    """
    lock_ms, idle_ms = int(settings.DATABASE_LOCK_TIMEOUT_MS), int(settings.DATABASE_IDLE_IN_TRANSACTION_MS)
    return (
        f"(SELECT set_config('lock_timeout', '{lock_ms}', true)"
        f" || set_config('idle_in_transaction_session_timeout', '{idle_ms}', true)) IS NOT NULL"
    )


def joined_atomic() -> transaction.Atomic:
    """The caller's transaction where there is one, else an own one: `transaction.atomic()` without its savepoint.

    An error inside it rolls the whole transaction back, which is what a money function means, and the two round trips
    of a savepoint are saved. Inside a test case's own transaction it does make a savepoint.
    """
    blocks = connection.atomic_blocks
    inside_a_test_only = bool(blocks) and getattr(blocks[-1], "_from_testcase", False)  # as `durable=True` decides it
    return transaction.atomic(savepoint=inside_a_test_only)


def snapshot() -> transaction.Atomic:
    """One consistent view: a settlement that commits meanwhile is seen whole or not at all. It locks nothing.

    Inside a caller's transaction, that one's.
    """
    block = transaction.atomic()
    if connection.in_atomic_block:
        return block
    return _RepeatableRead(using=None, savepoint=True, durable=False)


class _RepeatableRead(transaction.Atomic):
    def __enter__(self) -> None:
        super().__enter__()
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


@cache
def _threads(lane: Lane) -> ThreadPoolExecutor:
    """`leases` has a thread of its own: what keeps turns alive must not queue behind the work that it protects.

    `broker` is for telling workers of turns: a Redis that does not answer must not keep threads from the database.
    """
    workers = {"work": settings.DATABASE_THREADS, "leases": 1, "broker": _BROKER_THREADS}[lane]
    return ThreadPoolExecutor(max_workers=workers, thread_name_prefix=f"database-{lane}")


async def in_thread(work: Callable[[], T], *, lane: Lane = "work") -> T:
    """Run a unit of database work in a thread of our own and give its connection back at the end.

    One hop for one unit: authentication and opening of a turn are one, settling is one. Our own threads, because the
    thread that Django gives a request ends with the request, and a turn outlives it. If the awaiter is cancelled, the
    unit still runs to its end: a cancelled awaiter is not a rollback.
    """
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_threads(lane), context.run, _unit, work)


async def patiently(work: Callable[[], T], *, patience_s: float) -> T:
    """Run a unit of database work, again and again while the database is away or a lock is contended.

    `work` must be idempotent: a lost connection does not say whether its commit came through. Waits in the loop, not in
    a thread. Raises: the last of DATABASE_ERRORS once the patience is used up.
    """
    deadline = time.monotonic() + patience_s
    delay_s = 0.05
    while True:
        try:
            return await in_thread(work)
        except DATABASE_ERRORS as error:
            if time.monotonic() > deadline:
                raise
            log.warning("database_work_retried", error=str(error), delay_s=round(delay_s, 2))
            await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))
            # Soon after the database is back, lest a sweeper take for dead what only could not say that it lives.
            delay_s = min(delay_s * 2, 0.5)


def _unit(work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        close_old_connections()

"""Units of database work: run from async code in a thread, retried where the database asks for it."""

from __future__ import annotations

import asyncio
import contextvars
import random
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from django.conf import settings
from django.db import OperationalError, close_old_connections, connection, transaction

T = TypeVar("T")
# Serialization failure, deadlock, lock timeout: the transaction was rolled back and may simply be run again.
RETRYABLE_SQLSTATES = frozenset({"40001", "40P01", "55P03"})
LOCK_TIMEOUT_SQLSTATE = "55P03"


def sqlstate(error: BaseException) -> str | None:
    cause = error.__cause__ or error
    return getattr(cause, "sqlstate", None)


def retrying(work: Callable[[], T], *, attempts: int = 4) -> T:
    """Run one whole transaction, again where it lost a deadlock, a serialization conflict or a lock's patience.

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


def joined_atomic() -> transaction.Atomic:
    """The caller's transaction where there is one, else an own one: `transaction.atomic()` without its savepoint.

    An error inside it rolls the whole transaction back, which is what a money function means, and the two round trips
    of a savepoint are saved. Inside a test case's own transaction it does make a savepoint.
    """
    blocks = connection.atomic_blocks
    inside_a_test_only = bool(blocks) and getattr(blocks[-1], "_from_testcase", False)  # as `durable=True` decides it
    return transaction.atomic(savepoint=inside_a_test_only)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=settings.DATABASE_THREADS, thread_name_prefix="database")


async def in_thread(work: Callable[[], T]) -> T:
    """Run a unit of database work in a thread of our own and give its connection back at the end.

    One hop for one unit: authentication and opening of a turn are one, settling is one. Our own threads, because the
    thread that Django gives a request ends with the request, and a turn outlives it. If the awaiter is cancelled, the
    unit still runs to its end: a cancelled awaiter is not a rollback.
    """
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_threads(), context.run, _unit, work)


def _unit(work: Callable[[], T]) -> T:
    try:
        _drop_dead_connections()
        return work()
    finally:
        close_old_connections()


def _drop_dead_connections() -> None:
    """Discard pooled connections whose server went away, without a round trip.

    An idle PostgreSQL connection has nothing to say; one that is readable has been closed from the other side.
    """
    for _ in range(settings.DATABASE_POOL_SIZE + 1):
        connection.ensure_connection()
        poll = select.poll()
        poll.register(connection.connection.fileno(), select.POLLIN | select.POLLHUP)
        if not poll.poll(0):
            return
        connection.connection.close()
        connection.close()

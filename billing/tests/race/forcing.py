"""Failures that PostgreSQL itself raises on demand, in whichever process, and locks that somebody else holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection

WAIT_S = 20


@contextmanager
def failing_settlements(sqlstate: str, *, times: int) -> Iterator[Callable[[], int]]:
    """The first `times` events that anybody inserts end their transaction with this SQLSTATE.

    Counted by a sequence, which no rollback takes back. Gives a function that says how many inserts there were.
    """
    with connection.cursor() as cursor:
        cursor.execute("CREATE SEQUENCE forced_failures")
        cursor.execute(
            f"""CREATE FUNCTION force_failure() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('forced_failures') <= {times} THEN
                    RAISE EXCEPTION 'forced' USING ERRCODE = '{sqlstate}';
                END IF;
                RETURN NULL; END $$"""
        )
        cursor.execute(
            "CREATE TRIGGER forced_failure AFTER INSERT ON llm_call_events FOR EACH ROW "
            "EXECUTE FUNCTION force_failure()"
        )
    try:
        yield lambda: int(one("SELECT last_value FROM forced_failures"))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER forced_failure ON llm_call_events")
            cursor.execute("DROP FUNCTION force_failure")
            cursor.execute("DROP SEQUENCE forced_failures")


def one(sql: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


@contextmanager
def somebody_else() -> Iterator[psycopg.Connection[Any]]:
    """Another session of the same database, each statement its own transaction unless it says BEGIN."""
    parameters = connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}
    with psycopg.connect(**parameters, autocommit=True) as other:
        yield other


def wait_until_somebody_waits_for_a_lock(other: psycopg.Connection[Any], *, sessions: int = 1) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )  # fmt: skip
    deadline = time.monotonic() + WAIT_S
    while other.execute(waiting).fetchone() < (sessions,):
        assert time.monotonic() < deadline, "nobody waits for a lock"
        time.sleep(0.005)

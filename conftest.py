"""Fixtures for all tests.

Real PostgreSQL and Redis, and every ledger invariant checked after each test that used them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import TransactionTestCase
from django.test.utils import setup_databases, teardown_databases

_KEPT = ("django_migrations", "django_content_type", "auth_permission", "auth_group", "auth_group_permissions")


def pytest_configure() -> None:
    # The default hasher is slow on purpose; tests make hundreds of users.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # Every test client would look through all static files first, for a tenth of a second.
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After the shuffle: the long ones first, at the beginnings of the equal parts that workers get and steal from."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    size = -(-len(others) // workers)
    items[:] = [
        item for part in range(workers) for item in (*long[part::workers], *others[part * size : (part + 1) * size])
    ]


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: Any, django_db_modify_db_settings: None
) -> Iterator[None]:
    """One test database a worker, with a copy of the rows that migrations made.

    A test that commits is undone to them.
    """
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, aliases={"default"}, serialized_aliases=set())
        _keep_migrated_rows()
    yield
    with django_db_blocker.unblock():
        _end_other_connections()
        teardown_databases(made, verbosity=0)


@pytest.fixture(autouse=True, scope="session")
def _undo_by_truncation() -> None:
    # Django's flush would take the seeded prices away too, and put nothing back.
    TransactionTestCase._fixture_teardown = lambda self: undo_commits()  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def every_invariant_holds(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test with a database: L1 to L10 hold, and no turn that has ended has a call that runs.

    But where the test broke something on purpose (`breaks_the_ledger`).
    """
    # Asked for first, so that this check runs before the database is undone.
    if request.node.get_closest_marker("django_db"):
        request.getfixturevalue("_django_db_helper")
    yield
    marks = {mark.name for mark in request.node.iter_markers()}
    if not marks & {"django_db", "server"} or "breaks_the_ledger" in marks:
        return
    from billing.invariants import check_everything_else, check_wallets
    from sessions_app.models import TurnStep

    assert [*check_everything_else(), *check_wallets()] == []
    assert TurnStep.objects.filter(status="running", turn__finished_at__isnull=False).count() == 0


def _end_other_connections() -> None:
    """A process that a test killed may have left its connections to PostgreSQL for a moment."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


# What a test has left is little, and deleting it takes a fraction of the time of truncating every table. But what is
# deleted stays in the files: from some size on all are made anew. The locks wait for whoever still writes.
_UNDO = """
DO $$
DECLARE
    name text; has_rows boolean; names text[] := {names};
BEGIN
    EXECUTE 'LOCK TABLE ' || array_to_string(names, ', ');
    IF (SELECT max(pg_relation_size(one::regclass)) FROM unnest(names) AS one) > 4 * 1024 * 1024 THEN
        EXECUTE 'TRUNCATE ' || array_to_string(names, ', ');
    ELSE
        FOREACH name IN ARRAY names LOOP
            EXECUTE 'SELECT EXISTS (SELECT 1 FROM ' || name || ')' INTO has_rows;
            IF has_rows THEN
                EXECUTE 'DELETE FROM ' || name;
            END IF;
        END LOOP;
    END IF;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'migrated' LOOP
        EXECUTE 'INSERT INTO public.' || name || ' SELECT * FROM migrated.' || name;
    END LOOP;
END $$"""


def undo_commits() -> None:
    """Back to the rows that migrations made. For tests that really commit."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        tables = [name for name in connection.introspection.table_names(cursor) if name not in _KEPT]
        # Without the triggers that forbid this, and that would record the restored rows as new revisions.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(_UNDO.format(names="ARRAY['" + "', '".join(tables) + "']"))
    _forget_prices()


def _keep_migrated_rows() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS migrated CASCADE")
        cursor.execute("CREATE SCHEMA migrated")
        for name in ("pricing_versions", "model_pricing", "pricing_revisions"):
            cursor.execute(f"CREATE TABLE migrated.{name} AS SELECT * FROM public.{name}")


def _forget_prices() -> None:
    from pricing import cache

    cache.reload_pricing_cache()

"""A web process and its storage, shared by a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import undo_commits
from sessions_app.tests.e2e.servers import WebProcess, web_processes

FILE_MAX_BYTES = 30_000_000
# The lease is the time that parsing may take and a grace of fifteen seconds.
ENVIRONMENT = {"FILE_MAX_BYTES": str(FILE_MAX_BYTES), "FILE_PARSE_TIMEOUT_S": "12", "SWEEP_INTERVAL_S": "1"}


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A database whose rows other processes see. Undone once the module is through."""
    with django_db_blocker.unblock():
        yield
        undo_commits()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stored")


@pytest.fixture(scope="module")
def web(committed: None, stored: Path) -> Iterator[WebProcess]:
    with web_processes(1, STORAGE_ROOT=str(stored), **ENVIRONMENT) as (process,):
        yield process

"""Nothing that was measured may have been wrong: the ledger holds, and each call was billed, once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import psycopg

from config.embedded.paths import REPOSITORY


def problems(database_url: str, *, calls: int, called: str, env: Mapping[str, str]) -> list[str]:
    """What speaks against a run in this database. `calls`: as many debits must be there, `called` says of what."""
    found = []
    debits = _debits(database_url)
    if debits != calls:
        found.append(f"{debits} debits, but {calls} {called}")
    checked = subprocess.run(
        [sys.executable, "manage.py", "check_ledger"], env={**env, "DATABASE_URL": database_url}, cwd=REPOSITORY,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if checked.returncode != 0:
        found.append(f"check_ledger ended with {checked.returncode}:\n{checked.stdout[-2_000:]}{checked.stderr[-500:]}")
    return found


def _debits(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM credit_transactions WHERE kind = 'debit'").fetchone()
    return int(row[0]) if row else 0

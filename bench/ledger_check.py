"""Time and memory of `manage.py check_ledger` on ledgers of several sizes: does it grow in time alone?

    manage.py embedded --name bench -- python bench/ledger_check.py --entries 100000 1000000

Each size is made in a database of its own, on the server that DATABASE_URL names, checked, checked again with `--new`,
and dropped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psycopg

ROOT = Path(__file__).parents[1]
MB = 1024


class Measured(NamedTuple):
    seconds: float
    peak_mb: float


def run(database_url: str, *command: str) -> Measured:
    """Run to the end, in a process of its own. Raises: CalledProcessError."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, "DATABASE_URL": database_url, "DEBUG": "0"}
    )
    _, status, usage = os.wait4(process.pid, 0)
    # Popen must not wait for it once more.
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measured(time.perf_counter() - started, usage.ru_maxrss / MB)


def measure(server: str, entries: int, largest: int) -> dict[str, Measured]:
    name = f"ledger_check_{entries}"
    url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}"')
        admin.execute(f'CREATE DATABASE "{name}"')
        try:
            run(url, "manage.py", "migrate", "--verbosity", "0")
            made = run(url, "bench/make_ledger.py", "--entries", str(entries), "--largest", str(largest))
            full = run(url, "manage.py", "check_ledger")
            new = run(url, "manage.py", "check_ledger", "--new")
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    return {"make": made, "check_ledger": full, "check_ledger --new": new}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and peak memory of check_ledger.")
    parser.add_argument("--entries", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--largest", type=int, default=100_000, help="entries of the largest wallet, at most")
    options = parser.parse_args()
    lines = []
    for entries in options.entries:
        for what, measured in measure(os.environ["DATABASE_URL"], entries, min(options.largest, entries // 2)).items():
            lines.append(f"{entries:>9} entries  {what:<20} {measured.seconds:8.1f} s {measured.peak_mb:8.0f} MB")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

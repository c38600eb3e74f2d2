"""Time and memory of `manage.py check_ledger` on ledgers of several sizes: does it grow in time alone?

    manage.py embedded --name bench -- python bench/ledger_check.py --entries 100000 1000000

Each size is made in a database of its own, on the server that DATABASE_URL names, checked, checked again with `--new`,
checked once more with one byte of one entry flipped, which must be found and named, and dropped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
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
    said: str


def run(database_url: str, *command: str, expected: int = 0) -> Measured:
    """Run to the end, in a process of its own. Raises: CalledProcessError where it ends otherwise than expected."""
    with tempfile.TemporaryFile("w+") as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=out,
            env={**os.environ, "DATABASE_URL": database_url, "DEBUG": "0"},
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        # Popen must not wait for it once more.
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read()
    if process.returncode != expected:
        raise subprocess.CalledProcessError(process.returncode, command, said)
    return Measured(seconds, usage.ru_maxrss / MB, said)


def flip_a_byte(database_url: str, entries: int) -> tuple[str, int]:
    """One bit of the reason of an entry in the middle, past all triggers. Returns its wallet and `seq`."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        flipped = connection.execute(
            """UPDATE credit_transactions SET reason = overlay(reason placing chr(ascii(reason) # 1) from 1 for 1)
                WHERE id = (SELECT id FROM credit_transactions ORDER BY id OFFSET %s LIMIT 1)
            RETURNING wallet_id::text, seq""",
            [entries // 2],
        ).fetchone()
    if flipped is None:
        raise RuntimeError("there is no entry to flip a byte of")
    wallet_id, seq = flipped
    return wallet_id, seq


def check_flipped(database_url: str, entries: int) -> Measured:
    """Raises: RuntimeError unless the wallet and the entry with the flipped byte are named, and nothing else."""
    wallet_id, seq = flip_a_byte(database_url, entries)
    checked = run(database_url, "manage.py", "check_ledger", expected=1)
    [finding, *more] = [line for line in checked.said.splitlines() if line.startswith("L")]
    if more or not finding.startswith(f"L10 wallet {wallet_id} ") or f"entry {seq} " not in finding:
        raise RuntimeError(f"flipped entry {seq} of wallet {wallet_id}, found:\n{checked.said}")
    return checked


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
            flipped = check_flipped(url, entries)
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    return {"make": made, "check_ledger": full, "check_ledger --new": new, "one byte flipped": flipped}


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

"""Settlements a second: our service, and pgbench writing the same rows, on copies of one database."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import psycopg

from bench import audit, children, databases
from bench.alternating import alternate
from bench.options import Options
from bench.results import Row
from bench.servers.web import NOBODY, environment
from config.embedded import processes
from config.embedded.errors import EmbeddedError
from config.embedded.paths import REPOSITORY, bundled_postgres

OURS, THEIRS = "bench_settle", "bench_settle_pgbench"
# Each row's clients, and whether all of them settle on one wallet.
BENCHES = {"settle_1": (1, False), "settle_16": (16, False), "hot_wallet": (16, True)}
USERS, SESSIONS, HOT_SESSIONS = 200, 25, 5_000
SQL = Path(__file__).with_name("settle.sql")
_PEOPLE = """
CREATE SEQUENCE bench_turns;
CREATE TABLE bench_people AS
SELECT row_number() OVER (ORDER BY w.id) AS n, w.user_id, w.id AS wallet_id, g.id AS lot_id, s.id AS session_id,
       s.room_id, a.id AS agent_id
  FROM credit_wallets w JOIN LATERAL (
       SELECT id FROM credit_grants WHERE user_id = w.user_id ORDER BY amount DESC LIMIT 1) g ON true
  JOIN LATERAL (SELECT id, room_id FROM sessions WHERE user_id = w.user_id LIMIT 1) s ON true
  JOIN agents a ON a.user_id = w.user_id;
CREATE UNIQUE INDEX ON bench_people (n);
"""


class Settler:
    """The process that settles ours."""

    def __init__(self, asked: IO[bytes], answered: IO[bytes]) -> None:
        self._asked, self._answered = asked, answered
        self.settled = 0

    def per_s(self, clients: int, seconds: float, *, is_hot: bool) -> float:
        run = {"clients": clients, "seconds": seconds, "is_hot": is_hot}
        self._asked.write(json.dumps(run).encode() + b"\n")
        self._asked.flush()
        said = self._answered.readline()
        if not said:
            raise EmbeddedError("the process that settles has ended; its last words are above")
        came = json.loads(said)
        self.settled += came["settled"]
        return float(came["per_s"])


def measure(options: Options, folder: Path) -> tuple[list[Row], list[str]]:
    """The rows, and what was wrong with the ledger afterwards."""
    url = databases.copy(OURS, of=databases.EMPTY)
    env = environment(folder, upstream=NOBODY, database_url=url)
    children.run("bench.seats", f"{USERS}x{SESSIONS}", f"1x{HOT_SESSIONS}", env={**env, "LOG_LEVEL": "WARNING"})
    databases.copy(THEIRS, of=OURS)
    with psycopg.connect(databases.url_of(THEIRS)) as connection:
        connection.execute(_PEOPLE)
    rows = []
    with _settler(env) as settler:
        for name, (clients, is_hot) in BENCHES.items():
            if options.wants(name):
                rows.append(_row(options, settler, name, clients, is_hot=is_hot))
    found = audit.problems(url, calls=settler.settled, called="settlements of one call", env=env)
    for name in (OURS, THEIRS):
        databases.drop(name)
    return rows, found


def _row(options: Options, settler: Settler, name: str, clients: int, *, is_hot: bool) -> Row:
    runs = alternate(
        name,
        options.rounds,
        {
            "ours": lambda: settler.per_s(clients, options.seconds, is_hot=is_hot),
            "pgbench": lambda: _pgbench(clients, options.seconds, people=1 if is_hot else USERS),
        },
    )
    return Row(name, "settlements/s", runs["ours"], runs["pgbench"], f"pgbench, {SQL.name}")


@contextmanager
def _settler(env: Mapping[str, str]) -> Iterator[Settler]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.benches.settled_here"],
        env=dict(env),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=processes.bound_to_this_process(signal.SIGTERM),  # noqa: PLW1509 (no threads are started before)
    )
    try:
        yield Settler(cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout))
    finally:
        processes.end(process, (signal.SIGTERM, signal.SIGKILL))


def _pgbench(clients: int, seconds: float, *, people: int) -> float:
    """Without triggers, which are what guards our rows: the yardstick is to be the database alone."""
    command = [
        bundled_postgres() / "bin" / "pgbench", "--no-vacuum", "--protocol=prepared", f"--client={clients}",
        f"--jobs={min(2, clients)}", f"--time={max(1, round(seconds))}", f"--define=people={people}",
        f"--file={SQL}", databases.url_of(THEIRS),
    ]  # fmt: skip
    env = {**os.environ, "PGOPTIONS": "-c session_replication_role=replica"}
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, check=False)
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or found is None:
        raise EmbeddedError(f"pgbench ended with {done.returncode}:\n{done.stderr[-2_000:]}")
    return float(found.group(1))

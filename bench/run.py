"""One run of all that is asked for, and whether all of it was right."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from django.db import connection

from bench import audit, databases, machine, results, table
from bench.benches import prices, reports, settling, streams, turns
from bench.options import Options
from bench.results import Row
from bench.servers.upstreams import Upstreams
from bench.servers.web import NOBODY, OURS, environment
from config.core.open_files import raise_open_files_limit
from config.embedded.chaos.world import start_empty
from config.embedded.errors import EmbeddedError
from config.embedded.paths import REPOSITORY
from config.embedded.progress import step
from config.embedded.terminal import Terminal

LATEST = REPOSITORY / "bench" / "results" / "latest.json"
OF_TURNS = (*turns.THROUGHPUT, turns.LATENCY, turns.TWO)
OF_STREAMS = (streams.MEMORY, streams.LATENCY)
ALL = (*OF_TURNS, *OF_STREAMS, prices.NAME, *settling.BENCHES, *reports.REPORTS)


def run(options: Options, folder: Path, terminal: Terminal) -> bool:
    """Whether the money was right throughout; only then there is a result."""
    for wanted in options.only:
        if not any(name.startswith(wanted) for name in ALL):
            raise EmbeddedError(f"BENCH_ONLY: {wanted} is not the beginning of any of {', '.join(ALL)}")
    raise_open_files_limit()
    load_before = machine.load_average()
    start_empty()
    _keep_an_empty_copy()
    rows, problems = _measure(options, folder)
    terminal.line()
    for line in table.lines(rows):
        terminal.line(line)
    for problem in problems:
        terminal.line(f"FAILED: {problem}")
    if problems:
        return False
    loads = {"load_average_before": load_before, "load_average_after": machine.load_average()}
    results.write(LATEST, machine=machine.machine() | loads, versions=machine.versions(), rows=rows)
    terminal.line(f"\nEvery call was billed once, and check_ledger found nothing. {LATEST.relative_to(REPOSITORY)}")
    return True


def _measure(options: Options, folder: Path) -> tuple[list[Row], list[str]]:
    rows, problems = _with_upstream(options, folder)
    if options.wants(*settling.BENCHES):
        of_settling, found = settling.measure(options, folder)
        rows += of_settling
        problems += found
    if options.wants(*reports.REPORTS):
        rows += reports.measure(options, folder)
    return rows, problems


def _with_upstream(options: Options, folder: Path) -> tuple[list[Row], list[str]]:
    """Whatever makes turns, in one database; afterwards there is a debit for each call that the upstream saw."""
    upstreams = Upstreams(folder)
    benches: dict[Callable[[Options, Path, Upstreams], list[Row]], tuple[str, ...]] = {
        turns.measure: OF_TURNS,
        streams.measure: OF_STREAMS,
        prices.measure: (prices.NAME,),
    }
    chosen = [measure for measure, names in benches.items() if options.wants(*names)]
    rows = [row for measure in chosen for row in measure(options, folder, upstreams)]
    if not chosen:
        return rows, []
    env = environment(folder, upstream=NOBODY)
    with step("check_ledger"):
        return rows, audit.problems(
            os.environ["DATABASE_URL"], calls=upstreams.calls[OURS], called="calls of ours at the upstream", env=env
        )


def _keep_an_empty_copy() -> None:
    """What the other databases are made of. Nobody may be connected to what is copied."""
    name = connection.settings_dict["NAME"]
    connection.close()
    databases.copy(databases.EMPTY, of=name)

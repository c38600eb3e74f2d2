"""How much longer reports take when there is a hundred times as much to report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from bench import children, databases
from bench.alternating import alternate
from bench.clients import load
from bench.clients.http import request
from bench.options import Options
from bench.results import Row
from bench.servers.process import Server
from bench.servers.web import NOBODY, environment, running_webs
from config.embedded.big_history.making import DAYS

SMALL, LARGE, HUGE = 10_000, 1_000_000, 10_000_000
# What is asked for: each report over all the days, with a bucket a day, by model.
REPORTS = {
    "usage_report_user_growth": ("/api/v1/users/me/usage", "user_token"),
    "usage_report_admin_growth": ("/api/v1/admin/usage/summary", "staff_token"),
}
SECONDS_MAX = 2.0


def measure(options: Options, folder: Path) -> list[Row]:
    """One database and one web process for each size; sizes are asked in turn."""
    sizes = [SMALL, LARGE, *([HUGE] if options.is_big else [])]
    rows = []
    with ExitStack() as stack:
        histories = {size: _history(size, folder, stack) for size in sizes}
        for name, (path, whose) in REPORTS.items():
            if not options.wants(name):
                continue
            asked = {size: _asked(web, path, tokens[whose], options) for size, (web, tokens) in histories.items()}
            runs = alternate(name, options.rounds, {f"{size:,}": measured for size, measured in asked.items()})
            rows += [
                Row(name + ending, "ms", runs[f"{large:,}"], runs[f"{small:,}"], f"at {small:,} events")
                for small, large, ending in _steps(sizes)
            ]
    for size in sizes:
        databases.drop(_database(size))
    return rows


def _steps(sizes: Sequence[int]) -> list[tuple[int, int, str]]:
    """From which size to which, and how the name of its row ends."""
    return [
        (small, large, "" if large == LARGE else f"_{large // 1_000_000}m")
        for small, large in zip(sizes, sizes[1:], strict=False)
    ]


def _database(size: int) -> str:
    return f"bench_history_{size}"


def _history(size: int, folder: Path, stack: ExitStack) -> tuple[Server, dict[str, str]]:
    url = databases.copy(_database(size), of=databases.EMPTY)
    env = environment(folder, upstream=NOBODY, database_url=url)
    made = children.run("bench.benches.history", str(size), env={**env, "LOG_LEVEL": "WARNING"})
    (web,) = stack.enter_context(running_webs(1, folder, upstream=NOBODY, database_url=url))
    return web, made


def _asked(web: Server, path: str, token: str, options: Options) -> Callable[[], float]:
    now = datetime.now(UTC)
    times = {"from": (now - timedelta(days=DAYS)).isoformat(), "to": now.isoformat()}
    query = urlencode({**times, "bucket": "day", "group_by": "model_alias"})
    report = request("GET", f"{path}?{query}", token=token)
    seconds = min(options.seconds, SECONDS_MAX)
    return lambda: median(load.run([web.address], repeat(report), clients=1, seconds=seconds).latencies_ms)

"""Processes that share a folder: real ones, started and killed."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from config.core.metrics_folder import MetricsFolder

ROOT = Path(__file__).resolve().parents[4]
# Counts what it is told to on its standard input, and says when it has.
COUNTING = """
import os, sys
from config.core import metrics
counter = metrics.counter("things_total", "Things.", ("kind",))
plain = metrics.counter("plain_total", "Without labels.")
running = metrics.gauge("running", "Running.")
seconds = metrics.histogram("seconds", "Seconds.", buckets=(1, 2))
metrics.join("tester")
print("ready", flush=True)
for line in sys.stdin:
    what, amount = line.split()
    if what == "count":
        counter.labels("a").inc(int(amount)), seconds.observe(1.5), plain.inc()
    elif what == "run":
        running.inc(int(amount))
    elif what == "fork":
        child = os.fork()
        if child == 0:
            counter.labels("a").inc(int(amount))
            os._exit(0)
        os.waitpid(child, 0)
    print("done", flush=True)
"""


class Process:
    def __init__(self, folder: Path, script: str = COUNTING) -> None:
        environment = {**os.environ, "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "config.settings"}
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def do(self, what: str, amount: int = 1) -> None:
        self.process.stdin.write(f"{what} {amount}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def counting(folder: Path, count: int):
    processes = [Process(folder) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def shown(folder: Path) -> dict[str, float]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricsFolder(folder))
    text = generate_latest(registry).decode()
    return {
        sample.name + str(sorted(sample.labels.items())) * bool(sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("tallyroom_")
    }


THINGS = "tallyroom_things_total[('kind', 'a')]"


def test_the_sums_of_all(tmp_path):
    with counting(tmp_path, 3) as processes:
        for n, process in enumerate(processes, start=1):
            process.do("count", n)
            process.do("run", n)
        found = shown(tmp_path)
    assert found[THINGS] == 6
    assert found["tallyroom_running"] == 6
    assert (found["tallyroom_seconds_count"], found["tallyroom_seconds_sum"]) == (3, 4.5)


def test_a_metric_that_was_made_before_joining_is_shared_too_and_begins_at_zero(tmp_path):
    with counting(tmp_path, 1):
        assert shown(tmp_path)["tallyroom_plain_total"] == 0


def test_what_a_dead_process_counted_stays_and_what_it_had_under_way_goes(tmp_path):
    with counting(tmp_path, 2) as (one, two):
        one.do("count", 5), two.do("count", 7)
        one.do("run"), two.do("run")
        one.kill()
        found = shown(tmp_path)
    assert (found[THINGS], found["tallyroom_running"]) == (12, 1)


def test_a_successor_counts_on_in_the_same_files(tmp_path):
    with counting(tmp_path, 1) as (steady,):
        for generation in range(1, 6):
            with counting(tmp_path, 1) as (process,):
                process.do("count", 10)
                process.do("run")
                found = shown(tmp_path)
                assert (found[THINGS], found["tallyroom_running"]) == (10 * generation, 1)
        steady.do("count")
        assert shown(tmp_path)[THINGS] == 51
    assert {file.name for file in tmp_path.glob("counter_*.db")} == {"counter_0.db", "counter_1.db"}


def test_whoever_comes_first_finds_nothing_of_an_earlier_service(tmp_path):
    (tmp_path / "counter_4711.db").write_bytes(b"of a version that nobody can read any more")
    with counting(tmp_path, 1) as (process,):
        process.do("count", 3)
    with counting(tmp_path, 1) as (process,):
        assert THINGS not in shown(tmp_path)
        process.do("count", 2)
        assert shown(tmp_path)[THINGS] == 2
    assert not (tmp_path / "counter_4711.db").exists()


def test_a_fork_counts_for_itself(tmp_path):
    with counting(tmp_path, 1) as (process,):
        process.do("count", 1)
        process.do("fork", 10)
        process.do("count", 1)
        assert shown(tmp_path)[THINGS] == 12


def test_members_are_those_who_live(tmp_path):
    folder = MetricsFolder(tmp_path)
    with counting(tmp_path, 2) as (one, two):
        assert [(m.name, m.pid) for m in folder.members()] == [
            ("tester-0", one.process.pid),
            ("tester-1", two.process.pid),
        ]
        one.kill()
        assert [m.name for m in folder.members()] == ["tester-1"]
    assert folder.members() == []


def test_files_are_taken_from_the_disk_beforehand(tmp_path):
    with counting(tmp_path, 1):
        for file in tmp_path.glob("*.db"):
            assert file.stat().st_blocks * 512 >= file.stat().st_size >= 1 << 16


def test_a_folder_that_was_named_and_cannot_be_used_stops_the_start(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    script = "from config.core import metrics\nmetrics.join('tester')"
    environment = {**os.environ, "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "config.settings"}
    environment["PROMETHEUS_MULTIPROC_DIR"] = str(in_the_way)
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "ImproperlyConfigured: PROMETHEUS_MULTIPROC_DIR: cannot be used" in ended.stderr


@pytest.mark.parametrize("script", ["import config.core.metrics, sessions_app.metrics, billing.metrics"])
def test_a_process_that_does_not_join_writes_nothing(tmp_path, script):
    environment = {**os.environ, "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "config.settings"}
    environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    script = f"import django; django.setup()\n{script}\nbilling.metrics._LOST.inc()"
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, check=True)
    assert list(tmp_path.iterdir()) == []

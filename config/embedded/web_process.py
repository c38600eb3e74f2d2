"""The program's own processes, started as the Makefile's `serve` and `worker` start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from config.embedded import processes
from config.embedded.errors import EmbeddedError
from config.embedded.paths import REPOSITORY
from config.embedded.ports import LOOPBACK
from config.embedded.progress import step

START_TIMEOUT_S = 60.0
POLL_S = 0.1
POOL_SIZE = "16"
# Who presses Ctrl-C does not want to see a turn of the demo to its end; what it used by then is billed all the same.
DRAIN_TIMEOUT_S = "2"


@contextmanager
def running(module: str, arguments: Sequence[str], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of this project, stopped when the block ends."""
    process = processes.spawn(
        [sys.executable, "-m", module, *arguments],
        log=log,
        folder=REPOSITORY,
        env={"DATABASE_POOL_SIZE": POOL_SIZE, "DRAIN_TIMEOUT_S": DRAIN_TIMEOUT_S, **os.environ},
    )
    try:
        yield process
    finally:
        processes.end(process, (signal.SIGTERM, signal.SIGKILL))


@contextmanager
def running_web(port: int, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The web process on a loopback port. It needs a moment: prepare what it will serve, then `wait_until_live`."""
    arguments = [
        *("config.asgi:application", "--host", LOOPBACK, "--port", str(port), "--lifespan", "on"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-server-header"),
        *("--timeout-graceful-shutdown", DRAIN_TIMEOUT_S),
    ]
    with running("uvicorn", arguments, log=log) as process:
        yield process


@contextmanager
def running_worker(*, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [
        *("-A", "config", "worker", "--beat", "--scheduler", "celery.beat:Scheduler"),
        *("--pool", "threads", "--concurrency", "4", "--loglevel", "INFO"),
    ]
    with running("celery", arguments, log=log) as process:
        yield process


def wait_until_live(base_url: str, process: subprocess.Popen[bytes], *, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with step("web process"):
        while not _answers(f"{base_url}/api/v1/health/live"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"the web process did not start:\n{processes.last_lines(log)}")
            time.sleep(POLL_S)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False

"""Python processes that start in half a second: forked from one that has the libraries imported.

A web process takes two seconds to start, most of them for imports of others' code, and the suite starts a hundred. Our
own modules are imported by each process itself, with its own environment, as are libraries that read it when they are
imported (the Prometheus client, OpenTelemetry).
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_IMPORTED = [
    "celery.bin.celery",
    "celery.worker.worker",
    "cryptography.x509",
    "django.contrib.admin",
    "django.core.asgi",
    "httpx",
    "jwt",
    "langgraph.graph",
    "psycopg_pool",
    "redis.asyncio",
    "structlog.dev",
    "uvicorn.main",
    "uvicorn.protocols.http.httptools_impl",
]
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(_IMPORTED)


class ForkedProcess:
    """`python -m module arguments…`, with what of `subprocess.Popen` the tests use."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        self._process = _forks.Process(target=_run, args=(module, arguments, dict(environment)))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(module: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(ROOT))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # A forked process ends without these; one that is started by hand has them.
        atexit._run_exitfuncs()


def start_worker(environment: Mapping[str, str], *arguments: str, threads: int = 1) -> ForkedProcess:
    """A Celery worker, without beat unless asked for."""
    command = ("-A", "config", "worker", "--pool", "threads", "--concurrency", str(threads), *arguments)
    return ForkedProcess("celery", *command, environment=environment)

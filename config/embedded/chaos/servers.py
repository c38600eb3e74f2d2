"""PostgreSQL and Redis that can be killed and started again in place, and web processes and a worker that can, too.

Only the main thread starts them: the kernel tells children of the end of the thread that started them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from config.embedded import processes
from config.embedded.errors import EmbeddedError
from config.embedded.paths import REPOSITORY
from config.embedded.ports import LOOPBACK

READY_TIMEOUT_S = 30.0
POLL_S = 0.02


class RestartableServer:
    """A server that the supervisor started: killed with -9, and started again with the same command line and data."""

    def __init__(
        self,
        name: str,
        *,
        pid: int,
        command: Sequence[str | Path] | None = None,
        env: Mapping[str, str] | None = None,
        log: Path,
        answers: Callable[[], bool],
        stop_signal: int,
        pid_file: Path | None = None,
    ) -> None:
        running = psutil.Process(pid)
        self.name = name
        # Redis puts a title of its own in the place of its command line.
        self._command = command or running.cmdline()
        self._folder = Path(running.cwd())
        self._env = env
        self._identity = processes.Identity(running.uids().real, running.gids().real) if os.geteuid() == 0 else None
        self._log = log
        self._answers = answers
        self._stop_signal = stop_signal
        self._pid_file = pid_file
        self._running = running
        self._process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """Kill the server itself; its children have to notice by themselves."""
        children = self._running.children(recursive=True)
        self._running.kill()
        if self._process is not None:
            self._process.wait()
        deadline = time.monotonic() + READY_TIMEOUT_S
        while alive := [child for child in children if not _has_ended(child)]:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{len(alive)} children of {self.name} outlived it by {READY_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def start(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            if self._process is None or self._process.poll() is not None:
                self._spawn()
            if self._answers():
                return
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} did not come back:\n{processes.last_lines(self._log)}")
            time.sleep(POLL_S)

    def _spawn(self) -> None:
        if self._pid_file is not None:
            # Its children have ended, too. It would keep PostgreSQL from starting while the supervisor, which does not
            # ask for its children before the end, has the dead process on its list.
            self._pid_file.unlink(missing_ok=True)
        self._process = processes.spawn(
            self._command,
            log=self._log,
            folder=self._folder,
            env=self._env,
            identity=self._identity,
            death_signal=self._stop_signal,
        )
        self._running = psutil.Process(self._process.pid)

    def stop(self) -> None:
        if self._process is not None:
            processes.end(self._process, (self._stop_signal, signal.SIGKILL))


def _has_ended(process: psutil.Process) -> bool:
    """Dead is enough: the supervisor, which inherits orphans, collects them only at its end."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class ProgramProcess:
    """A web process or the worker. Each start is a life of its own, with a name that the provider sees."""

    def __init__(
        self, name: str, command: Sequence[str], *, folder: Path, environment: Callable[[str], Mapping[str, str]]
    ) -> None:
        self.name = name
        self.life = ""
        self._command = [sys.executable, "-m", *command]
        self._folder = folder
        self._environment = environment
        self._lives = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._lives += 1
        self.life = f"{self.name}-{self._lives}"
        self._process = processes.spawn(
            self._command,
            log=self._folder / f"{self.life}.log",
            folder=REPOSITORY,
            env=self._environment(self.life),
        )

    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        if self._process is not None:
            processes.end(self._process, (signal.SIGTERM, signal.SIGKILL))


def web_command(port: int) -> list[str]:
    """As `make serve` starts it, on the loopback address."""
    return [
        *("uvicorn", "config.asgi:application", "--host", LOOPBACK, "--port", str(port), "--lifespan", "on"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-server-header"),
        *("--timeout-graceful-shutdown", "5"),
    ]


def worker_command(threads: int) -> list[str]:
    """As `make worker` starts it."""
    return [
        *("celery", "-A", "config", "worker", "--beat", "--scheduler", "celery.beat:Scheduler"),
        *("--pool", "threads", "--concurrency", str(threads), "--loglevel", "WARNING"),
    ]

"""A process that is measured: started, waited for, and ended whatever happens."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from config.embedded import processes
from config.embedded.errors import EmbeddedError
from config.embedded.paths import REPOSITORY

START_TIMEOUT_S = 120.0
POLL_S = 0.05


class Server:
    """A running process and where it answers."""

    def __init__(self, address: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.address = address
        self.process = process
        self._log = log

    @property
    def resident_kb(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1024

    def wait_for(self, path: str) -> None:
        """Until it answers there. Raises: EmbeddedError with the end of its log."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(f"{self.address}{path}"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"{self._log.stem} did not start:\n{processes.last_lines(self._log)}")
            time.sleep(POLL_S)


@contextmanager
def running(command: Sequence[str | Path], *, address: str, log: Path, env: Mapping[str, str]) -> Iterator[Server]:
    process = processes.spawn(command, log=log, folder=REPOSITORY, env=env)
    try:
        yield Server(address, process, log)
    finally:
        processes.end(process, (signal.SIGTERM, signal.SIGKILL))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False

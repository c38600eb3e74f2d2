"""Upstream processes, and how many calls they saw in all."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.servers.process import POLL_S, START_TIMEOUT_S, Server, running
from config.embedded import processes
from config.embedded.errors import EmbeddedError
from config.embedded.ports import LOOPBACK


class Upstreams:
    """Starts upstreams, and remembers what each was asked for when it has ended."""

    def __init__(self, folder: Path) -> None:
        self.calls: Counter[str] = Counter()
        self._log = folder / "upstream.log"

    @contextmanager
    def running(self) -> Iterator[Server]:
        command = [sys.executable, "-m", "bench.servers.upstream"]
        with running(command, address="", log=self._log, env=os.environ) as server:
            server.address = f"http://{LOOPBACK}:{self._port(server)}"
            yield server
            self.calls.update(httpx.get(f"{server.address}/calls", trust_env=False).json())

    def _port(self, server: Server) -> int:
        """It takes any that is free, and prints it."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (said := self._log.read_text()).endswith("\n"):
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"the upstream did not start:\n{processes.last_lines(self._log)}")
            time.sleep(POLL_S)
        return int(said)

"""Real web processes for end-to-end tests: uvicorn on a loopback port, the test's own database, a scripted provider."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
from django.conf import settings
from django.db import connection

from sessions_app.tests.e2e.processes import ROOT, ForkedProcess

START_S = 60


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def database_url(application_name: str) -> str:
    """The test database as a URL that another process can use."""
    config = connection.settings_dict
    host, port = config["HOST"] or "", config["PORT"] or ""
    login = quote(config["USER"] or "postgres") + (f":{quote(config['PASSWORD'])}" if config["PASSWORD"] else "")
    name = config["NAME"]
    if host.startswith("/"):
        return f"postgres://{login}@{quote(host, safe='')}:{port}/{name}?application_name={application_name}"
    return f"postgres://{login}@{host}:{port}/{name}?application_name={application_name}"


SECRET_KEY = "test-" + "0123456789abcdefghijklmnopqrstuvwxyz" * 2  # noqa: S105 - of test processes


class WebProcess:
    """One web process. `client(token)` talks to it over HTTP."""

    def __init__(self, *, name: str = "web", **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "DEBUG": "0",
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": database_url(name),
            "DATABASE_POOL_SIZE": "8",
            "REDIS_URL": settings.REDIS_URL,
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "WARNING",
            "CREDIT_ENFORCEMENT": "hard",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | ForkedProcess | None = None

    def start(self, **popen: Any) -> WebProcess:
        """Forked, unless something is asked for that only `subprocess.Popen` has, or several workers behind a port."""
        command = [
            "uvicorn", "config.asgi:application", "--host", "127.0.0.1", "--port", str(self.port),
            "--lifespan", "on", "--no-access-log", "--log-level", "warning",
        ]  # fmt: skip
        if popen or "WEB_CONCURRENCY" in self.environment:
            self.process = subprocess.Popen([sys.executable, "-m", *command], env=self.environment, cwd=ROOT, **popen)
        else:
            self.process = ForkedProcess(*command, environment=self.environment)
        return self

    def wait(self) -> WebProcess:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/api/v1/health/live", timeout=2).status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, "the web process ended while starting"
            time.sleep(0.05)
        raise AssertionError("the web process did not start")

    def client(self, token: str | None = None, **kwargs: object) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=60, **kwargs)  # type: ignore[arg-type]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def web_processes(count: int, *, name: str = "web", **environment: str):
    """Several web processes over one database; stopped whatever happens."""
    processes = [WebProcess(name=name, **environment).start() for _ in range(count)]
    try:
        for process in processes:
            process.wait()
        yield processes
    finally:
        for process in processes:
            if process.process is not None and process.process.poll() is None:
                process.process.terminate()
        for process in processes:
            try:
                process.stop()
            except subprocess.TimeoutExpired:
                process.kill()


def sse(text: str) -> list[tuple[int, str, dict]]:
    """A whole event stream as (id, event, data)."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return events

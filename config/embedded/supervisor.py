"""Run a command with PostgreSQL, Redis and, if wanted, the bundled model beside it.

Everything that is started here is stopped here: after the command, after a failure, after Ctrl-C. Where this process
is killed outright, the kernel tells the services (see `processes`).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from config.embedded import folder_lock, processes
from config.embedded.command import run_command
from config.embedded.errors import EmbeddedError, Interrupted
from config.embedded.llm import LocalModel
from config.embedded.paths import DATA_DIR_VARIABLE, REPOSITORY, bundled_postgres, data_folder, persisted_secret
from config.embedded.postgres import Postgres
from config.embedded.progress import say, step
from config.embedded.redis import Redis
from config.embedded.service import Service
from config.embedded.signals import ReceivedSignals

TESTS = "test"
# Who measures, or runs again and again, must not be told to wait. `make run` has the limits of a production start.
WITHOUT_RATE_LIMITS = ("demo", TESTS, "chaos")
RATE_LIMITS = tuple(
    f"RATE_LIMIT_{what}"
    for what in (
        *("TURNS_PER_MINUTE", "TURNS_PER_HOUR", "COMPLETIONS_PER_MINUTE"),
        *("LOGIN_FAILURES", "LOGIN_FAILURES_PER_ADDRESS"),
    )
)
START_TIMEOUT_S = 60.0
START_ATTEMPTS = 4
POLL_S = 0.05


def supervise(*, name: str, with_llm: bool, command: Sequence[str]) -> int:
    """Start the services, run the command, stop the services; the answer is the exit code."""
    signals = ReceivedSignals()
    _end_with_make()
    processes.adopt_orphans()
    folder = data_folder(name)
    # Keeps linters and searches out of the data, wherever the checkout's own rules end.
    (folder.parent / ".gitignore").write_text("*\n")
    with folder_lock.hold(folder):
        services = make_services(folder, is_for_tests=name == TESTS, with_llm=with_llm)
        try:
            say(f"Starting the embedded services in {folder.relative_to(REPOSITORY)}")
            start_all(services, signals)
            return run_command(command, command_environment(os.environ, folder, services, name=name), signals)
        except Interrupted as interruption:
            return interruption.exit_code
        finally:
            stop_all(services)


def _end_with_make() -> None:
    """Stop in order when make is killed outright, as by a caller's timeout: it cannot tell us."""
    if psutil.Process(os.getppid()).name() in {"make", "gmake"}:
        processes.die_with_parent(signal.SIGTERM)


def make_services(folder: Path, *, is_for_tests: bool, with_llm: bool) -> list[Service]:
    # The slowest to get ready comes first; PostgreSQL comes last because its first start sets it up in the foreground.
    model = [LocalModel(folder, is_for_tests=is_for_tests)] if with_llm else []
    return [*model, Redis(folder), Postgres(folder, is_durable=not is_for_tests)]


def start_all(services: Sequence[Service], signals: ReceivedSignals) -> None:
    """Start all at once, then wait for each."""
    for service in services:
        service.start()
    for service in reversed(services):
        with step(service.title):
            wait_until_ready(service, signals)


def wait_until_ready(service: Service, signals: ReceivedSignals) -> None:
    """Wait, and start again a service that ended: its port may have been taken, or its predecessor be ending still."""
    deadline = time.monotonic() + START_TIMEOUT_S
    attempts = 1
    while not service.is_ready():
        if service.has_ended() and attempts < START_ATTEMPTS:
            signals.pause(0.25 * attempts)
            attempts += 1
            service.start()
        elif service.has_ended() or time.monotonic() > deadline:
            raise EmbeddedError(f"{service.title} did not start:\n{processes.last_lines(service.log)}")
        signals.pause(POLL_S)


def stop_all(services: Sequence[Service]) -> None:
    for service in services:
        service.ask_to_stop()
    for service in services:
        service.stop()
    processes.end_descendants()


def command_environment(
    caller: Mapping[str, str], folder: Path, services: Sequence[Service], *, name: str = ""
) -> dict[str, str]:
    """The caller's environment, pointed at our services and at no others."""
    elsewhere = {"DATABASE_POOL_URL", "CELERY_BROKER_URL", "STORAGE_BACKEND"}
    environment = {name: value for name, value in caller.items() if name not in elsewhere}
    environment.setdefault("DEBUG", "1")
    if name in WITHOUT_RATE_LIMITS:
        environment = dict.fromkeys(RATE_LIMITS, "0") | environment
    environment["SECRET_KEY"] = persisted_secret(folder, "secret_key")
    environment[DATA_DIR_VARIABLE] = str(folder)
    # Beside its database: the nightly job removes what no row names.
    environment["STORAGE_ROOT"] = str(folder / "uploads")
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), str(bundled_postgres() / "bin"), caller.get("PATH", os.defpath)]
    )
    for proxy in ("NO_PROXY", "no_proxy"):
        environment[proxy] = ",".join(filter(None, [caller.get(proxy), "127.0.0.1", "localhost"]))
    for service in services:
        environment |= service.environment()
    return environment

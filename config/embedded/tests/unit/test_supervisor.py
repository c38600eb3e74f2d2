from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import folder_lock, processes, supervisor
from config.embedded.errors import EmbeddedError, Interrupted
from config.embedded.service import Service
from config.embedded.supervisor import RATE_LIMITS, command_environment, start_all, stop_all, wait_until_ready

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class NoSignals:
    def pause(self, seconds: float) -> None:
        del seconds


class OneSignal:
    def pause(self, seconds: float) -> None:
        raise Interrupted(15)


class ScriptedService(Service):
    """Ends at its first `failures` starts, and is ready afterwards."""

    title = "scripted"

    def __init__(self, folder: Path, *, failures: int = 0) -> None:
        super().__init__(folder)
        self.starts = 0
        self._failures = failures

    @property
    def log(self) -> Path:
        return self.folder / "scripted.log"

    def start(self) -> None:
        self.starts += 1
        code = "print('port taken')" if self.starts <= self._failures else "import time; time.sleep(60)"
        self.process = processes.spawn([sys.executable, "-c", code], log=self.log, folder=self.folder)
        if self.starts <= self._failures:
            self.process.wait()

    def is_ready(self) -> bool:
        return self.starts > self._failures

    def environment(self) -> dict[str, str]:
        return {"SCRIPTED_URL": "here"}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[list[ScriptedService]]:
    made: list[ScriptedService] = []
    yield made
    for service in made:
        service.stop()


def test_a_service_that_ended_before_it_was_ready_is_started_again(
    tmp_path: Path, services: list[ScriptedService]
) -> None:
    services.append(ScriptedService(tmp_path, failures=2))
    start_all(services, NoSignals())  # type: ignore[arg-type]
    assert services[0].starts == 3


def test_a_service_that_never_starts_is_reported_with_the_end_of_its_log(
    tmp_path: Path, services: list[ScriptedService]
) -> None:
    services.append(ScriptedService(tmp_path, failures=99))
    services[0].start()
    with pytest.raises(EmbeddedError, match=r"scripted did not start:\nport taken"):
        wait_until_ready(services[0], NoSignals())  # type: ignore[arg-type]
    assert services[0].starts == supervisor.START_ATTEMPTS


def test_a_signal_ends_the_wait(tmp_path: Path, services: list[ScriptedService]) -> None:
    services.append(ScriptedService(tmp_path, failures=1))
    services[0].start()
    with pytest.raises(Interrupted):
        wait_until_ready(services[0], OneSignal())  # type: ignore[arg-type]


def test_stopping_ends_every_process_and_may_be_repeated(tmp_path: Path, services: list[ScriptedService]) -> None:
    services.append(ScriptedService(tmp_path))
    services[0].start()
    for _ in range(2):
        stop_services_only(services)
        assert services[0].has_ended()


def stop_services_only(services: list[ScriptedService]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Would end the children of pytest.
        patch.setattr(processes, "end_descendants", lambda: None)
        stop_all(services)


def test_the_command_sees_our_services_and_nobody_else_s(tmp_path: Path) -> None:
    caller = {
        "PATH": "/usr/bin",
        "DATABASE_URL": "postgresql://production",
        "DATABASE_POOL_URL": "postgresql://pooler",
        "CELERY_BROKER_URL": "redis://production",
        "NO_PROXY": "example.com",
        "DEBUG": "0",
    }
    environment = command_environment(caller, tmp_path, [ScriptedService(tmp_path)])
    assert "DATABASE_POOL_URL" not in environment
    assert "CELERY_BROKER_URL" not in environment
    assert environment["SCRIPTED_URL"] == "here"
    assert environment["NO_PROXY"] == "example.com,127.0.0.1,localhost"
    assert environment["DEBUG"] == "0"
    assert len(environment["SECRET_KEY"]) >= 50
    assert environment["PATH"].endswith(":/usr/bin")
    again = command_environment(caller, tmp_path, [])
    assert again["SECRET_KEY"] == environment["SECRET_KEY"]


@pytest.mark.parametrize(("name", "limit"), [("test", "0"), ("demo", "0"), ("chaos", "0"), ("run", None)])
def test_who_measures_or_repeats_itself_has_no_rate_limits(tmp_path: Path, name: str, limit: str | None) -> None:
    environment = command_environment({"PATH": "/usr/bin"}, tmp_path, [], name=name)
    assert {environment.get(variable) for variable in RATE_LIMITS} == {limit}
    chosen = {"PATH": "/usr/bin", "RATE_LIMIT_TURNS_PER_MINUTE": "3"}
    assert command_environment(chosen, tmp_path, [], name=name)["RATE_LIMIT_TURNS_PER_MINUTE"] == "3"


def test_a_second_supervisor_of_a_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom config.embedded import folder_lock\n"
        "with folder_lock.hold(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(EmbeddedError, match=f"process {holder.pid} is using"), folder_lock.hold(tmp_path):
        pass
    holder.communicate()
    with folder_lock.hold(tmp_path):
        assert (tmp_path / "lock").read_text() != str(holder.pid)

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import command
from config.embedded.command import run_command
from config.embedded.errors import EmbeddedError
from config.embedded.signals import STOPPING, ReceivedSignals

# Later Pythons warn about forking beside the threads that pytest's plug-ins keep; the supervisor itself has none.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

# Says that it is ready, and exits with the number of interrupts that reached it.
COUNT_INTERRUPTS = """
import pathlib, signal, sys, time
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
pathlib.Path(sys.argv[1]).touch()
deadline = time.monotonic() + 20
while not got and time.monotonic() < deadline:
    time.sleep(0.02)
time.sleep(0.5)
sys.exit(len(got))
"""
IGNORE_ALL_REQUESTS = """
import pathlib, signal, sys, time
for signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signum, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""
END_SOON_UNLESS_INTERRUPTED = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
time.sleep(1)
"""


@pytest.fixture
def signals() -> Iterator[ReceivedSignals]:
    handlers = {signum: signal.getsignal(signum) for signum in STOPPING}
    yield ReceivedSignals()
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    return tmp_path / "ready"


def python(code: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def interrupt_us_when(ready: Path, *, times: int = 1) -> None:
    """From a thread, once the command says that it is ready."""

    def send() -> None:
        while not ready.exists():
            time.sleep(0.02)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    threading.Thread(target=send, daemon=True).start()


def test_the_exit_code_of_the_command_is_the_answer(signals: ReceivedSignals) -> None:
    assert run_command(python("raise SystemExit(7)"), os.environ, signals) == 7


def test_a_command_that_a_signal_ended_answers_as_a_shell_would(signals: ReceivedSignals) -> None:
    assert run_command(python("import os; os.kill(os.getpid(), 9)"), os.environ, signals) == 137


def test_a_command_that_does_not_exist_is_named(signals: ReceivedSignals) -> None:
    with pytest.raises(EmbeddedError, match="cannot run no-such-program: No such file or directory"):
        run_command(["no-such-program"], os.environ, signals)


def test_the_command_gets_the_environment_that_was_made_for_it(signals: ReceivedSignals) -> None:
    code = "import os; raise SystemExit(os.environ['ANSWER'] != '42')"
    assert run_command(python(code), {**os.environ, "ANSWER": "42"}, signals) == 0


def test_away_from_a_terminal_an_interrupt_is_passed_on_once(
    signals: ReceivedSignals, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "is_in_terminal_foreground", lambda: False)
    interrupt_us_when(ready)
    assert run_command(python(COUNT_INTERRUPTS, ready), os.environ, signals) == 1


def test_at_a_terminal_an_interrupt_is_the_terminal_s_to_deliver(
    signals: ReceivedSignals, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "is_in_terminal_foreground", lambda: True)
    interrupt_us_when(ready)
    assert run_command(python(END_SOON_UNLESS_INTERRUPTED, ready), os.environ, signals) == 0


def test_who_asks_three_times_is_obeyed(signals: ReceivedSignals, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "is_in_terminal_foreground", lambda: False)
    interrupt_us_when(ready, times=3)
    assert run_command(python(IGNORE_ALL_REQUESTS, ready), os.environ, signals) == 137

"""The command that the services are there for: in the foreground, with each signal delivered exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from config.embedded import processes
from config.embedded.errors import EmbeddedError
from config.embedded.signals import ReceivedSignals

POLL_S = 0.1
NOT_FOUND = 127


def run_command(command: Sequence[str], env: Mapping[str, str], signals: ReceivedSignals) -> int:
    """Run the command to its end; the answer is its exit code, as a shell would tell it."""
    shares_terminal = is_in_terminal_foreground()
    try:
        process = subprocess.Popen(
            list(command),
            env=dict(env),
            # At a terminal it stays in our group: it may read, and Ctrl-C reaches it without us. Elsewhere it gets
            # a group of its own, so that a signal to our whole group reaches it only through us, once.
            process_group=None if shares_terminal else 0,
            preexec_fn=processes.bound_to_this_process(signal.SIGTERM),  # noqa: PLW1509 (no threads are started before)
        )
    except OSError as error:
        raise EmbeddedError(f"cannot run {command[0]}: {error.strerror}") from None
    return _wait(process, signals, shares_terminal=shares_terminal)


def _wait(process: subprocess.Popen[bytes], signals: ReceivedSignals, *, shares_terminal: bool) -> int:
    requests = 0
    while True:
        try:
            code = process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            for signum in signals.take():
                requests += 1
                if shares_terminal and signum == signal.SIGINT and requests == 1:
                    continue  # The terminal has sent it to the command too.
                _forward(process, _stronger(signum, requests), to_group=not shares_terminal)
        else:
            return code if code >= 0 else 128 - code


def _stronger(signum: int, requests: int) -> int:
    """The first request as it came; who asks again wants it to stop now."""
    return {1: signum, 2: signal.SIGTERM}.get(requests, signal.SIGKILL)


def _forward(process: subprocess.Popen[bytes], signum: int, *, to_group: bool) -> None:
    if process.poll() is not None:
        return
    if to_group:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)


def is_in_terminal_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)

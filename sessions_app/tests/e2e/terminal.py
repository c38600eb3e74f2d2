"""A person at a terminal: a program on a pseudo-terminal, typed to and read from."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from sessions_app.tests.e2e.servers import ROOT

WAIT_S = 60
SETTLE_S = 0.2
# The pseudo-terminal becomes the controlling one, so that Ctrl-C is a signal and a password is asked for there. The
# child does it itself: code between fork and exec is not safe beside the threads of a test.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    def __init__(self, arguments: Sequence[str], **environment: str) -> None:
        self._master, slave = pty.openpty()
        self.shown = ""
        self._raw = b""
        self._read_to = 0
        command = [sys.executable, "-c", _TAKE_TERMINAL, sys.executable, *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def type_when_asked(self, line: str) -> None:
        """A line for a program that has just written its prompt, and sets the terminal up for reading after that."""
        time.sleep(SETTLE_S)
        self.type(f"{line}\n")

    def wait_for(self, text: str, timeout_s: float = WAIT_S) -> str:
        """What was shown since the last wait, up to the end of this text."""
        deadline = time.monotonic() + timeout_s
        while (at := self.shown.find(text, self._read_to)) < 0:
            assert time.monotonic() < deadline, f"{text!r} was not shown; since the last wait: {self.rest()!r}"
            assert self._read(), f"ended before {text!r}: {self.rest()!r}"
        start, self._read_to = self._read_to, at + len(text)
        return self.shown[start : self._read_to]

    def rest(self) -> str:
        return self.shown[self._read_to :]

    def exit_code(self, timeout_s: float = WAIT_S) -> int:
        deadline = time.monotonic() + timeout_s
        while self._read() and time.monotonic() < deadline:
            pass
        return self.process.wait(timeout=10)

    def _read(self) -> bool:
        """False once the program has closed its side."""
        if not select.select([self._master], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            return False
        self._raw += data
        self.shown = self._raw.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)

"""Signals as something to ask for, so that none interrupts the start or the stop of a service half-way."""

from __future__ import annotations

import signal
import time
from types import FrameType

from config.embedded.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ReceivedSignals:
    """Collects the signals that ask to stop, from the moment it is made."""

    def __init__(self) -> None:
        self._received: list[int] = []
        for signum in STOPPING:
            signal.signal(signum, self._receive)

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        self._received.append(signum)

    def take(self) -> list[int]:
        """What came since the last time."""
        taken, self._received = self._received, []
        return taken

    def pause(self, seconds: float) -> None:
        """Sleep, then raise where a stop was asked for."""
        time.sleep(seconds)
        if self._received:
            raise Interrupted(self._received[0])

"""What every embedded service looks like to the supervisor."""

from __future__ import annotations

import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from config.embedded import processes


class Service(ABC):
    """A server process: `start` returns at once, `is_ready` is asked until it says yes."""

    title: ClassVar[str]
    stop_signals: ClassVar[Sequence[int]] = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def log(self) -> Path: ...

    @abstractmethod
    def start(self) -> None:
        """Start the process on a fresh port; called again where it ended before it was ready."""

    @abstractmethod
    def is_ready(self) -> bool: ...

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The variables through which the program finds this service."""

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signals[0])

    def stop(self) -> None:
        if self.process is not None:
            processes.end(self.process, self.stop_signals)

"""One set of services per folder: the second to ask is told who holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.embedded.errors import EmbeddedError


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder while the block runs.

    The kernel drops the lock with the process, so a supervisor that was killed leaves nothing to clean up. The file
    is not inherited by the services, who may live a moment longer.
    """
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise EmbeddedError(f"process {holder} is using {folder}: wait for it or stop it") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield

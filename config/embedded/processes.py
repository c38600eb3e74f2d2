"""Start and stop processes so that none outlives the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import psutil

GRACE_S = 10.0

_SET_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
# Loaded here and not in the forked child, where importing could deadlock.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Identity:
    """The system user that a process runs as."""

    uid: int
    gid: int


class UserChange(TypedDict, total=False):
    """The arguments with which `subprocess` changes the user."""

    user: int
    group: int
    extra_groups: list[int]


def die_with_parent(death_signal: int) -> None:
    """Have the kernel send this process `death_signal` when its parent ends, also by kill -9 (Linux only)."""
    if _LIBC is not None:
        _LIBC.prctl(_SET_DEATH_SIGNAL, death_signal, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended, so that they can be found and ended."""
    if _LIBC is not None:
        _LIBC.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def bound_to_this_process(death_signal: int) -> Callable[[], None]:
    """For `preexec_fn`. It runs after the change of user, which would clear the death signal."""
    parent = os.getpid()

    def bind() -> None:
        die_with_parent(death_signal)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    folder: Path,
    env: Mapping[str, str] | None = None,
    identity: Identity | None = None,
    death_signal: int = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a process in the background, its output in `log`.

    It gets a session of its own: a Ctrl-C at the terminal must not stop the database before its clients.
    """
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(env) if env is not None else None,
            start_new_session=True,
            preexec_fn=bound_to_this_process(death_signal),  # noqa: PLW1509 (no threads are started before)
            **as_user(identity),
        )


def as_user(identity: Identity | None) -> UserChange:
    """Change to this user, and drop every group of ours."""
    return {"user": identity.uid, "group": identity.gid, "extra_groups": []} if identity is not None else {}


def end(process: subprocess.Popen[bytes], signals: Sequence[int], *, grace_s: float = GRACE_S) -> None:
    """Send one signal after the other, each with its time to work, until the process has ended."""
    for signum in signals:
        if process.poll() is not None:
            return
        process.send_signal(signum)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def end_descendants(grace_s: float = 3.0) -> None:
    """End what the ended children left behind."""
    remaining = psutil.Process().children(recursive=True)
    for process in remaining:
        _send(process, signal.SIGTERM)
    _, remaining = psutil.wait_procs(remaining, timeout=grace_s)
    for process in remaining:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(remaining, timeout=grace_s)


def _send(process: psutil.Process, signum: int) -> None:
    try:
        process.send_signal(signum)
    except psutil.NoSuchProcess:
        return


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, to show with a failure."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])

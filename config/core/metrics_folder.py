"""The folder in which the processes of one service on one machine keep their metrics.

prometheus_client writes each process's numbers to files that are mapped into its memory, so nothing is lost with a
process, however it ends. Its own rule is one set of files for each process id, for ever. Here a process takes the
lowest free *slot* instead, and goes on counting where the slot's former owner stopped: no counter goes backwards, and
there are never more files than there were processes at one time.

A slot is owned by holding a lock on its file. The kernel lets go of it when the process ends, `kill -9` included, and
nobody has to guess from process ids. Whoever comes while no slot is owned empties the folder: a new start of the
service counts from zero, and nothing of an older version of the program stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

# Taken from the disk beforehand: a mapped page that finds the disk full would end the process with SIGBUS.
_RESERVED_BYTES = {"counter": 1 << 18, "histogram": 1 << 20, "gauge_livesum": 1 << 16}
_GAUGE_OF = re.compile(r"gauge_live[a-z]+_(\d+)\.db")


@dataclass(frozen=True, slots=True)
class Member:
    """A process that lives and counts here."""

    slot: int
    role: str
    pid: int
    pid_namespace: str

    @property
    def name(self) -> str:
        return f"{self.role}-{self.slot}"


class MetricsFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._role = ""
        self._slot = -1
        self._pid = 0
        self._lock: IO[str] | None = None

    def join(self, role: str) -> None:
        """Take the lowest free slot, for as long as this process lives. Raises: OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._guarded(fcntl.LOCK_EX):
            if not self.members():
                self._empty()
            self._slot, self._lock = self._take()
            self._role, self._pid = role, os.getpid()
            self._lock.truncate(0)
            self._lock.write(json.dumps({"role": role, "pid": self._pid, "pid_namespace": _pid_namespace()}))
            self._lock.flush()
            # What the former owner had under way ended with it.
            for gauge in self.path.glob(f"gauge_live*_{self._slot}.db"):
                gauge.unlink(missing_ok=True)
            for kind, size in _RESERVED_BYTES.items():
                self._reserve(self.path / f"{kind}_{self._slot}.db", size)

    def own_slot(self) -> int:
        """For prometheus_client, before each number that is written. A fork gets a slot of its own."""
        if os.getpid() != self._pid:
            if self._lock is not None:
                self._lock.close()
            self.join(self._role)
        return self._slot

    def members(self) -> list[Member]:
        """Who lives, by slot."""
        found = []
        for file in sorted(self.path.glob("*.process")):
            with file.open() as opened:
                if _lock_now(opened, fcntl.LOCK_SH):
                    continue
                try:
                    found.append(Member(slot=int(file.stem), **json.loads(opened.read())))
                except (ValueError, TypeError):
                    # It has the lock and is about to write who it is.
                    found.append(Member(slot=int(file.stem), role="starting", pid=0, pid_namespace=""))
        return sorted(found, key=lambda member: member.slot)

    def collect(self) -> Iterator[Metric]:
        """The sums over all processes that were here since the service started; of gauges, over those that live."""
        with self._guarded(fcntl.LOCK_SH):
            members = self.members()
        living = {member.slot for member in members}
        files = [str(file) for file in self.path.glob("*.db") if _slot_of_gauge(file) in {None, *living}]
        yield from MultiProcessCollector.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        yield from process_metrics(members)

    @contextmanager
    def _guarded(self, mode: int) -> Iterator[None]:
        """Joining changes who is here; looking at it briefly takes the locks of the dead."""
        with (self.path / "guard.lock").open("a") as guard:
            fcntl.flock(guard, mode)
            yield

    def _take(self) -> tuple[int, IO[str]]:
        for slot in count():
            file = (self.path / f"{slot}.process").open("a+")
            if _lock_now(file, fcntl.LOCK_EX):
                return slot, file
            file.close()
        raise AssertionError("unreachable")

    def _empty(self) -> None:
        for pattern in ("*.db", "*.process"):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)

    def _reserve(self, file: Path, size: int) -> None:
        with file.open("ab") as opened:
            if opened.tell() < size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(opened.fileno(), 0, size)


def process_metrics(members: Sequence[Member]) -> Iterable[Metric]:
    """prometheus_client's own, of each process that can be seen from here; without members, of this one."""
    shown = [(member.name, str(member.pid)) for member in members if member.pid_namespace == _pid_namespace()]
    families: dict[str, Metric] = {}
    for name, pid in shown or [("self", "self")]:
        for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
            family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                family.add_sample(sample.name, {"process": name}, sample.value)
    return families.values()


def _lock_now(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _slot_of_gauge(file: Path) -> int | None:
    match = _GAUGE_OF.fullmatch(file.name)
    return int(match.group(1)) if match else None


def _pid_namespace() -> str:
    """Two containers that share the folder do not see each other's processes."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""

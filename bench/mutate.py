"""Mutation testing of the money arithmetic: change one thing in the code, and see whether a test notices.

    make mutation                             # all mutants; docs/mutation-testing.md has the last result
    make mutation ONLY=pricing/rating.py      # those of one file

A pytest run that collects the chosen tests, sets the database up once, and then forks for each mutant: the child puts
the mutated code into the loaded module and runs the tests until the first one fails. Nothing on disk is touched.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.mutants import ROOT, Mutant, mutants

# Those that fail soonest go first.
TESTS = [
    "billing/tests/unit/test_posting.py",
    "billing/tests/unit/test_gate_arithmetic.py",
    "pricing/tests/unit",
    *(f"billing/tests/db/test_{name}.py" for name in (
        "lots", "ledger", "refunds", "limits", "ledger_edges", "gate", "extending", "hold_repair", "metrics", "alerts",
        "invariants", "tools",
    )),
    "billing/tests/api/test_corrections_api.py",
    "billing/tests/race/test_two_at_once.py",
]  # fmt: skip
SECONDS_PER_MUTANT = 180
SURVIVED = "survived"
# What a data class writes itself, besides its `__init__`, whose defaults count.
_GENERATED = {"__eq__", "__repr__", "__hash__"}

# In the child


def install(mutant: Mutant) -> None:
    """Put the mutated code behind the functions that everybody has imported already."""
    module = importlib.import_module(mutant.file.removesuffix(".py").replace("/", "."))
    fresh = types.ModuleType(module.__name__)
    fresh.__dict__.update(__file__=module.__file__, __package__=module.__package__)
    sys.modules[module.__name__], loaded = fresh, module
    try:
        exec(compile(mutant.tree, str(module.__file__), "exec"), fresh.__dict__)  # noqa: S102 - our own code
    finally:
        sys.modules[module.__name__] = loaded
    for name, value in vars(fresh).items():
        old = module.__dict__.get(name)
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            _replace(old, value)
        elif isinstance(value, type) and value.__module__ == module.__name__:
            _replace_methods(old, value)
        elif not name.startswith("__") and not isinstance(value, (types.ModuleType, type, types.FunctionType)):
            module.__dict__[name] = value


def _replace(old: Any, new: Any) -> None:
    are_functions = isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType)
    if are_functions and len(old.__code__.co_freevars) == len(new.__code__.co_freevars):
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def _replace_methods(old: Any, new: type) -> None:
    for name, value in vars(new).items():
        before = vars(old).get(name)
        if isinstance(value, property) and isinstance(before, property):
            _replace(before.fget, value.fget)
        elif name not in _GENERATED or not hasattr(old, "__dataclass_fields__"):
            _replace(before, value)


class Runner:
    """The pytest plug-in: instead of running the tests once, run them for each mutant of this shard."""

    def __init__(self, *, shard: int, shards: int, out: Path) -> None:
        self.shard, self.shards, self.out = shard, shards, out

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        from django.db import connections

        items = session.items
        # One test of the database first: what the whole session shares is made once, here, and stays.
        first = next(item for item in items if item.get_closest_marker("django_db"))
        first.config.hook.pytest_runtest_protocol(item=first, nextitem=items[-1])
        if session.testsfailed:
            raise session.Failed("the first test fails as it is")
        connections.close_all()
        if self._try(session, None) != SURVIVED:
            raise session.Failed("the tests fail without any change")
        chosen = [
            m for index, m in enumerate(mutants(only=os.environ.get("ONLY"))) if index % self.shards == self.shard
        ]
        with self.out.open("w") as report:
            for index, mutant in enumerate(chosen, start=1):
                started = time.monotonic()
                outcome = self._try(session, mutant)
                row = {"file": mutant.file, "line": mutant.line, "what": mutant.what, "outcome": outcome,
                       "seconds": round(time.monotonic() - started, 2)}  # fmt: skip
                report.write(json.dumps(row) + "\n")
                report.flush()
                _say(f"{index}/{len(chosen)} {outcome:8} {mutant.file}:{mutant.line} {mutant.what}")
        return True

    def _try(self, session: pytest.Session, mutant: Mutant | None) -> str:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            self._child(session, mutant)
        deadline = time.monotonic() + SECONDS_PER_MUTANT
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return "killed" if os.waitstatus_to_exitcode(status) else SURVIVED
            time.sleep(0.01)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "timeout"

    def _child(self, session: pytest.Session, mutant: Mutant | None) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            if mutant is not None:
                install(copy.deepcopy(mutant))
        except BaseException:  # noqa: BLE001 - code that cannot even be loaded is noticed
            os._exit(1)
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following or session.items[0])
            if session.testsfailed:
                os._exit(1)
        os._exit(0)


def run_shard(shard: int, shards: int, out: Path) -> int:
    arguments = ["-q", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=", *TESTS]
    return int(pytest.main(arguments, plugins=[Runner(shard=shard, shards=shards, out=out)]))


def run_all(shards: int) -> int:
    """Each shard has a database of its own. Prints a line per mutant, then what survived."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"{shard}.jsonl" for shard in range(shards)]
        running = [
            subprocess.Popen([sys.executable, "manage.py", "embedded", "--name", f"mutation-{shard}", "--",
                              sys.executable, "-m", "bench.mutate", str(shard), str(shards), str(out)], cwd=ROOT)
            for shard, out in enumerate(outs)
        ]  # fmt: skip
        codes = [process.wait() for process in running]
        if any(codes):
            return 1
        rows = [json.loads(line) for out in outs for line in out.read_text().splitlines()]
    alive = sorted((row["file"], row["line"], row["what"]) for row in rows if row["outcome"] == SURVIVED)
    made, survived = Counter(row["file"] for row in rows), Counter(file for file, *_ in alive)
    for file, count in sorted(made.items()):
        _say(f"{file:34} {count - survived[file]:4} of {count:4} killed")
    for file, line, what in alive:
        _say(f"survived  {file}:{line}  {what}")
    _say(f"{len(rows) - len(alive)} of {len(rows)} killed: {1 - len(alive) / len(rows):.1%}")
    return 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        sys.exit(run_shard(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
    sys.exit(run_all(shards=min(2, os.cpu_count() or 1)))

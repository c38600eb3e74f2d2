"""Kills at random moments, each only while enough turns are in the middle of a provider call."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import chain

from config.embedded.chaos.evidence import Fault
from config.embedded.chaos.provider import ChaosProvider
from config.embedded.chaos.servers import ProgramProcess, RestartableServer
from config.embedded.chaos.services import Services
from config.embedded.errors import EmbeddedError

KINDS = ("web", "worker", "redis", "postgresql")
# Turns inside a provider call count as in flight by themselves: so many of them are more than is asked of each kind.
CALLS_OPEN_MIN = 20
CALLS_OPEN_IN_VICTIM_MIN = 5
LOAD_TIMEOUT_S = 60.0
PAUSE_MAX_S = 0.5
POLL_S = 0.02


class FaultInjector:
    """Kills each kind of process as often as asked, in random order."""

    def __init__(self, services: Services, provider: ChaosProvider, dice: random.Random) -> None:
        self.faults: list[Fault] = []
        # Lives of processes that ended although nobody had killed them.
        self.ended_by_themselves: list[str] = []
        self._services = services
        self._provider = provider
        self._dice = dice

    def run(self, kills: int, report: Callable[[Fault], None]) -> None:
        for kind in self._order(kills):
            fault = self._strike(kind)
            self.faults.append(fault)
            report(fault)

    def _order(self, kills: int) -> Iterator[str]:
        """Rounds of all kinds, so that a process has come back before it is its turn again."""
        rounds = ([*KINDS] for _ in range(kills))
        return chain.from_iterable(self._dice.sample(kinds, len(kinds)) for kinds in rounds)

    def _strike(self, kind: str) -> Fault:
        if kind == "web":
            return self._strike_program(kind, self._services.webs)
        if kind == "worker":
            return self._strike_program(kind, [self._services.worker])
        server = self._services.redis if kind == "redis" else self._services.postgresql
        return self._strike_server(kind, server)

    def _strike_program(self, kind: str, candidates: list[ProgramProcess]) -> Fault:
        candidates = self._dice.sample(candidates, len(candidates))
        self._wait_for_moment(lambda: self._busy(candidates) is not None)
        victim = self._busy(candidates) or candidates[0]
        counts = self._provider.open_calls()
        fault = Fault(kind, victim.life, time.time(), counts.total(), counts[victim.life])
        victim.kill()
        victim.start()
        return fault

    def _busy(self, candidates: list[ProgramProcess]) -> ProgramProcess | None:
        counts = self._provider.open_calls()
        return next((one for one in candidates if counts[one.life] >= CALLS_OPEN_IN_VICTIM_MIN), None)

    def _strike_server(self, kind: str, server: RestartableServer) -> Fault:
        self._wait_for_moment(lambda: True)
        calls_open = self._provider.open_calls().total()
        killed_at = time.time()
        server.kill()
        server.start()
        return Fault(kind, server.name, killed_at, calls_open, calls_open, ready_at=time.time())

    def _wait_for_moment(self, is_fit: Callable[[], bool]) -> None:
        """A random pause, then the first moment at which the load is as wanted."""
        time.sleep(self._dice.uniform(0, PAUSE_MAX_S))
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while self._provider.open_calls().total() < CALLS_OPEN_MIN or not is_fit():
            if time.monotonic() > deadline:
                raise EmbeddedError(f"the load did not come up within {LOAD_TIMEOUT_S:.0f} s: see the logs")
            self._start_what_ended()
            time.sleep(POLL_S)

    def _start_what_ended(self) -> None:
        """As the service manager of a machine would, but it is not forgotten."""
        for program in (*self._services.webs, self._services.worker):
            if program.has_ended():
                self.ended_by_themselves.append(program.life)
                program.start()

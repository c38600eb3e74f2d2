"""One run: the load, the kills, the rest afterwards, the verdict."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from config.embedded.chaos import oracle, report, stored, world
from config.embedded.chaos.evidence import Evidence, Fault
from config.embedded.chaos.faults import KINDS, FaultInjector
from config.embedded.chaos.load import LastTurns, Load
from config.embedded.chaos.provider import ChaosProvider
from config.embedded.chaos.services import LEASE_S, SWEEP_S, Services
from config.embedded.progress import step
from config.embedded.terminal import Terminal

# Users who wait for the end of their turns see it within this time: a turn that lost its process takes a lease, its
# grace and a sweep to end, and one that is resumed takes two slow calls more.
FINISH_TIMEOUT_S = 60.0
LAST_TURNS_TIMEOUT_S = 30.0
# A lease, a third of one as grace, a sweep, and time for two busy cores to start a worker and to do it.
FREE_WITHIN_S = LEASE_S * 4 / 3 + SWEEP_S + 6
POLL_S = 0.2


def run(folder: Path, terminal: Terminal, *, kills: int, seed: int) -> bool:
    """Whether nothing was violated."""
    world.start_empty()
    seats = world.make_seats()
    with ExitStack() as stack:
        provider = stack.enter_context(ChaosProvider())
        services = Services(folder, provider)
        stack.callback(services.stop)
        services.start_programs()
        load = Load(services.addresses, seats, seed)
        evidence = Evidence(calls=provider.calls, attempts=load.attempts)
        load.start()
        injector = FaultInjector(services, provider, random.Random(seed))
        evidence.faults = injector.faults
        injector.run(kills, _reporter(terminal, kills * len(KINDS)))
        problems = _come_to_rest(services, provider, load)
        problems += [f"process {life} ended by itself" for life in injector.ended_by_themselves]
        last = LastTurns(services.addresses, seats, seed + 1)
        last.start()
        if not last.finish(LAST_TURNS_TIMEOUT_S):
            problems.append("not every session took a new turn in time")
        evidence.attempts.extend(last.attempts)
        services.stop_programs()
        with step("the oracle"):
            stored.read_into(evidence)
            problems += [*oracle.violations(evidence, free_within_s=FREE_WITHIN_S), *stored.broken_invariants()]
        report.show_summary(terminal, evidence, load.counts, problems)
        return not problems


def _reporter(terminal: Terminal, total: int) -> Callable[[Fault], None]:
    started = time.monotonic()
    number = 0

    def show(fault: Fault) -> None:
        nonlocal number
        number += 1
        report.show_fault(terminal, number, total, fault, time.monotonic() - started)

    return show


def _come_to_rest(services: Services, provider: ChaosProvider, load: Load) -> list[str]:
    """Stop the load and give what died its lease, grace and sweep."""
    problems = []
    provider.is_slow = False
    with step("the load ends"):
        if not load.finish(FINISH_TIMEOUT_S):
            problems.append(f"some users did not see the end of their turns within {FINISH_TIMEOUT_S:.0f} s")
    deadline = time.monotonic() + FREE_WITHIN_S
    with step("lease, grace and sweep"):
        while (active := stored.count_active_turns()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    if active:
        problems.append(f"{active} turns have no end, {FREE_WITHIN_S:.0f} s after the load ended")
    return problems

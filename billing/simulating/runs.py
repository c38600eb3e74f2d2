"""Simulations that run in the background or at once, recorded: whose turn it is, how far it is, what it came to."""

from __future__ import annotations

from threading import Event
from typing import Any

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from billing.models import PriceSimulation
from billing.simulating import queue
from billing.simulating.history import count_calls, has_more_calls_than
from billing.simulating.recording import recorded
from billing.simulating.services import Simulation, simulate
from config.core.transactions import after_commit
from pricing.history import book_at
from pricing.models import PricingVersion

# So many take a tenth of a second: not worth a worker's while.
FEW_CALLS = 5_000

log = structlog.get_logger(__name__)
_is_stopping = Event()


class _NotOurs(Exception):
    """This process ends, or the row is somebody else's by now."""


def ask(version: PricingVersion, *, days: int, asked_by: str) -> PriceSimulation:
    """Ask for a simulation. Of a short history it is done at once; else a worker is told of it."""
    row = queue.ask(version, days=days, asked_by=asked_by)
    if row.status == queue.WAITING:
        if has_more_calls_than(FEW_CALLS, start=row.start, end=row.end):
            after_commit(_tell_worker)
        elif (ours := queue.claim(row)) is not None:
            _run(ours)
        row.refresh_from_db()
    return row


def run_waiting() -> int:
    """Run what waits, one after the other; returns how many were done."""
    done = 0
    while not _is_stopping.is_set() and (row := queue.claim()) is not None:
        done += _run(row)
    return done


def stop() -> None:
    """This worker is to end: what it works on is given back."""
    _is_stopping.set()


def record_done(simulation: Simulation, *, asked_by: str) -> None:
    """What a command has found out, for the pages, in place of what waits for a worker to find it out."""
    same = {
        "pricing_version": simulation.pricing_version,
        "pricing_revision": simulation.revision,
        "days": simulation.days,
    }
    try:
        with transaction.atomic():
            PriceSimulation.objects.filter(**same, status=queue.WAITING).delete()
            PriceSimulation.objects.create(
                **same, start=simulation.start, end=simulation.end, asked_by=asked_by, **_finished(simulation)
            )
            queue.forget_old()
    except DatabaseError as error:
        # As on a replica that cannot be written to. Who asked still learns what was found.
        log.warning("simulation_not_recorded", error=str(error))


def _run(row: PriceSimulation) -> bool:
    """False where it was not brought to an end. One that fails is left, until another worker finds it silent."""
    ours = PriceSimulation.objects.filter(pk=row.pk, status=queue.RUNNING, attempts=row.attempts)
    ours.update(calls=count_calls(start=row.start, end=row.end))
    progress = _Progress(ours)
    try:
        simulation = simulate(
            book_at(row.pricing_version, row.pricing_revision), days=row.days, start=row.start, end=row.end,
            progress=progress.read, between_days=progress.say,
        )  # fmt: skip
    except _NotOurs:
        ours.update(status=queue.WAITING, attempts=row.attempts - 1)
        return False
    is_ours = ours.update(calls_read=progress.calls_read, **_finished(simulation)) == 1
    log.info("price_simulation_done" if is_ours else "price_simulation_claim_lost", simulation=str(row.pk))
    return is_ours


class _Progress:
    """How far it is, into the row; and whether to go on."""

    def __init__(self, ours: Any) -> None:
        self.calls_read = 0
        self._ours = ours

    def read(self, calls: int) -> None:
        self.calls_read += calls
        if _is_stopping.is_set():
            raise _NotOurs

    def say(self) -> None:
        if not self._ours.update(calls_read=self.calls_read, seen_at=timezone.now()):
            raise _NotOurs


def _finished(simulation: Simulation) -> dict[str, Any]:
    return {"status": queue.DONE, "result": recorded(simulation), "finished_at": timezone.now()}


def _tell_worker() -> None:
    """Best effort: without a broker the next beat finds it."""
    from billing.simulating.tasks import run_simulations

    try:
        run_simulations.apply_async(retry=False, ignore_result=True, expires=60)
    except (BrokerError, OSError) as error:
        log.warning("simulation_not_announced", error=str(error))

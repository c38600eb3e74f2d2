"""Admitting a turn from an async view: opened in a thread, run in this loop, waited for where the client asked to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from config.core.transactions import in_thread
from sessions_app.errors import TurnInProgress
from sessions_app.models import Turn
from sessions_app.turns.opening import open_turn
from sessions_app.turns.queueing import dispatch
from sessions_app.turns.recovery import recover
from sessions_app.turns.registry import registry
from sessions_app.turns.running import TurnRun
from sessions_app.turns.turn import OpenedTurn, TurnRequest

# How long `"on_busy": "wait"` waits for the session's running turn, and how often it looks.
WAIT_S = 60
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Started:
    """The turn that a request stands for: its run where this process has it, else its stored row."""

    run: TurnRun | None
    turn: Turn | None
    turn_id: UUID
    replayed: bool


@dataclass(frozen=True, slots=True)
class Queued:
    """A turn that was opened for a worker to run."""

    turn: Turn


Admitted = OpenedTurn | Queued | Turn


def admit(request: TurnRequest) -> Admitted:
    """Open a turn, or find the one that its key stands for.

    One unit of database work; raises what `open_turn` raises.
    """
    opened = open_turn(request, recover=recover)
    if isinstance(opened, OpenedTurn):
        if request.in_background:
            return Queued(Turn.objects.get(id=opened.id))
        return opened
    turn = Turn.objects.get(id=opened.turn_id)
    # A retry is how a client learns what became of a turn whose process died: it need not wait for the sweeper.
    return Turn.objects.get(id=turn.id) if turn.status == Turn.Status.RUNNING and recover(turn.id) else turn


def is_new(admitted: Admitted) -> bool:
    """Whether a turn was made, and not an earlier one found."""
    return isinstance(admitted, OpenedTurn | Queued)


async def start(admitting: Callable[[], Awaitable[Admitted]], *, waits: Callable[[], bool]) -> Started:
    """Start the turn that `admitting` opens, or find the one that it replays.

    `waits()` says, after the first try, whether the client wants to wait for a busy session. Admitting is a task of its
    own: a client that hangs up in the very moment in which its turn is committed must not leave it without a runner.
    Raises: ShuttingDown, TurnInProgress, and what opening raises.
    """
    gone = asyncio.Event()
    task = registry().keep(_start(admitting, waits=lambda: waits() and not gone.is_set()))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        gone.set()
        raise


async def _start(admitting: Callable[[], Awaitable[Admitted]], *, waits: Callable[[], bool]) -> Started:
    ours = registry()
    deadline = time.monotonic() + WAIT_S
    while True:
        ours.admit()
        try:
            opened = await admitting()
            break
        except TurnInProgress:
            if not waits() or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_LOOK_EVERY_S)
    if isinstance(opened, OpenedTurn):
        return Started(ours.start(opened), None, opened.id, replayed=False)
    if isinstance(opened, Queued):
        await in_thread(partial(dispatch, opened.turn.id), lane="broker")
        return Started(None, opened.turn, opened.turn.id, replayed=False)
    return Started(ours.find(opened.id), opened, opened.id, replayed=True)


async def ended_turn(turn_id: UUID) -> Turn:
    """The stored turn, once it has ended. At once, but where its run lost it: then whoever took it over settles it.

    Raises: TurnInProgress when nobody has within a minute.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        turn = await in_thread(lambda: Turn.objects.get(id=turn_id))
        if turn.finished_at is not None:
            return turn
        if time.monotonic() > deadline:
            raise TurnInProgress(turn_id)
        await asyncio.sleep(_LOOK_EVERY_S)

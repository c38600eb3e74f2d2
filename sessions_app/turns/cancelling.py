"""Ending a turn because its owner wants it so: asked for durably, heard quickly, billed for what was used.

The wish is a column of the turn. The process that runs it hears of it in one of three ways: it is this one; by a
message over Redis; or with its next heartbeat, which reads the column. Whoever recovers a turn reads it, too.
"""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from django.db import connection

from config.core.transactions import in_thread
from sessions_app.models import Turn
from sessions_app.turns import rows
from sessions_app.turns.cancel_channel import say_cancel
from sessions_app.turns.outcome import CANCELLED
from sessions_app.turns.recovery import end_unstarted, recover
from sessions_app.turns.registry import registry

# How long the answer to a cancel waits for the turn's end, and how often it looks.
_WAIT_S = 1.5
_LOOK_EVERY_S = 0.05


async def cancel(turn: Turn) -> Turn:
    """Ask a turn to end, and wait for a moment; returns it as it stands then.

    Idempotent; an ended turn stays as it is.
    """
    await in_thread(lambda: ask(turn.id))
    run = registry().find(turn.id)
    if run is not None:
        run.stop(CANCELLED)
    else:
        await say_cancel(turn.id)
    deadline = asyncio.get_running_loop().time() + _WAIT_S
    while True:
        current = await in_thread(lambda: Turn.objects.get(id=turn.id))
        if current.finished_at is not None or asyncio.get_running_loop().time() > deadline:
            return current
        await asyncio.sleep(_LOOK_EVERY_S)


def ask(turn_id: UUID) -> None:
    """Write the wish down; who runs the turn reads it at the next heartbeat. One that nobody runs is ended at once."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE turns SET cancel_requested_at = COALESCE(cancel_requested_at, clock_timestamp())
                WHERE id = %s AND finished_at IS NULL""",
            [turn_id],
        )
    claim = uuid4()
    if rows.claim_queued(turn_id=turn_id, claim=claim):
        end_unstarted(turn_id, claim=claim, stopped_by=CANCELLED)
    else:
        recover(turn_id)

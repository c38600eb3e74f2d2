"""Work within a time limit that is always cleaned up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

# Closing a socket takes two turns of the loop; this only bounds our patience with a broken one.
CLEANUP_MAX_S = 1.0

# asyncio itself keeps only weak references to tasks.
_closing: set[asyncio.Task[None]] = set()


class DeadlinePassedError(Exception):
    """The work took longer than its limit, and was stopped."""


async def run_within(seconds: float, work: Coroutine[None, None, None]) -> None:
    """Run the work in a task of its own, which is cancelled at most once.

    httpx closes its socket and gives its pool slot back while the CancelledError passes through it. A second cancel at
    that moment (a double click on stop, a drain after a stop) would break off the closing and leak the slot. Here it
    only ends our waiting; the closing goes on.
    """
    task = asyncio.create_task(work)
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    try:
        await asyncio.wait({task}, timeout=seconds)
        is_late = not task.done()
    finally:
        await _stop(task)
    if is_late:
        raise DeadlinePassedError
    task.result()


async def _stop(task: asyncio.Task[None]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CLEANUP_MAX_S)
    if task.done() and not task.cancelled():
        # Looked at here, because a cancelled caller never asks for it and asyncio would complain on stderr.
        task.exception()

"""Parse what is due: one file after the other, in a few slots of this worker, each file in a process of its own."""

from __future__ import annotations

import time
from functools import cache
from threading import BoundedSemaphore, Event

import structlog
from django.conf import settings

from files import metrics, parse_queue, storage
from files.errors import StorageUnavailable
from files.parse_queue import ATTEMPTS_MAX, DIED, Job
from files.parsing.outcome import Limits, Parsed, ParseFailed, ParserDied
from files.parsing.process import parse_apart

log = structlog.get_logger(__name__)
# After so many in a row the storage is away, and not a file of it.
STORAGE_FAILURES_MAX = 3
_is_stopping = Event()
VANISHED = ParseFailed("not_found", "The bytes of this file are gone from the storage; please upload it again.")


def parse_due() -> int:
    """Parse until nothing is due; returns how many were tried. Safe to run many at once, here and elsewhere.

    Where all slots are taken there is nothing to do: whoever has one looks again before and after giving it back.
    """
    tried, before, failures = 0, -1, 0
    # Until nothing could be had, too: what is due may be locked by who deletes it.
    while tried > before and parse_queue.has_due() and _slots().acquire(blocking=False):
        before = tried
        try:
            while failures < STORAGE_FAILURES_MAX and not _is_stopping.is_set():
                job = parse_queue.claim()
                if job is None:
                    break
                tried += 1
                failures = 0 if _work(job) else failures + 1
        finally:
            _slots().release()
    return tried


def stop() -> None:
    """This worker is to end: no further file is begun."""
    _is_stopping.set()


@cache
def _slots() -> BoundedSemaphore:
    return BoundedSemaphore(settings.FILE_PARSE_PROCESSES)


def _work(job: Job) -> bool:
    """False where the storage did not give the bytes."""
    storage.give_connection_back()
    started = time.monotonic()
    try:
        parsed = _parsed(job)
    except StorageUnavailable:
        parse_queue.given_back(job)
        return False
    except ParseFailed as failure:
        is_ours = parse_queue.failed(job, failure)
    except ParserDied as error:
        # Its lease is left to run out, so that what killed it has passed until it is tried again.
        log.error("parser_died", file_id=str(job.file_id), kind=job.kind, attempt=job.attempt, error=str(error))
        is_ours = job.attempt < ATTEMPTS_MAX or parse_queue.failed(job, DIED)
    else:
        is_ours = parse_queue.completed(job, parsed)
    metrics.attempted(kind=job.kind, seconds=time.monotonic() - started)
    if not is_ours:
        log.warning("parse_claim_lost", file_id=str(job.file_id), kind=job.kind, attempt=job.attempt)
    return True


def _parsed(job: Job) -> Parsed:
    """Raises: ParseFailed, ParserDied, StorageUnavailable."""
    limits = Limits(
        seconds=settings.FILE_PARSE_TIMEOUT_S,
        memory_bytes=settings.FILE_PARSE_MEMORY_BYTES,
        text_max_chars=settings.FILE_TEXT_MAX_CHARS,
    )
    try:
        source = storage.local_copy(job.storage_key)
    except FileNotFoundError:
        raise VANISHED from None
    with source:
        # Another may have taken a file that was long in coming; what is found out then is not written.
        parse_queue.renewed(job)
        storage.give_connection_back()
        return parse_apart(source, kind=job.kind, limits=limits)

"""Which file is to be parsed, who has it, and what came of it. Short transactions; nothing here reads a file.

The rows are the queue. A claim is a lease on the database's clock: what a worker that dies had in its hands is taken by
another, a bounded number of times, and a worker that comes back too late finds that it has no say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import DateTimeField, Func, QuerySet
from django.db.models.functions import Coalesce

from files import metrics
from files.models import FilePassage, UploadedFile
from files.parsing.outcome import Parsed, ParseFailed
from files.passages import split

log = structlog.get_logger(__name__)
ATTEMPTS_MAX = 3
# Beyond the time that parsing may take: for writing the text. Fetching the bytes has as long again.
LEASE_GRACE_S = 15
# A file whose bytes the storage does not give waits before they are asked for again, and is given up after a day.
UNAVAILABLE_PAUSE_S = 30
UNAVAILABLE_MAX_S = 86_400
_BATCH = 500
DIED = ParseFailed("parser_died", "Reading this file failed several times, for a reason that is not known.")
UNAVAILABLE = ParseFailed(
    "storage_unavailable", "The storage has not given the bytes of this file for a day; please upload it again."
)

_NOW = "clock_timestamp()"
_LOST = f"parse_status = 'processing' AND claimed_at < {_NOW} - make_interval(secs => %(lease_s)s)"
_WAITING = f"""parse_status = 'pending'
    AND (unavailable_since IS NULL OR claimed_at < {_NOW} - make_interval(secs => %(pause_s)s))"""
_DUE = f"(({_WAITING}) OR ({_LOST} AND attempts < %(attempts)s))"
# Who has the fewest files in work is next, so that the many files of one keep nobody else waiting.
_CLAIM = f"""
UPDATE uploaded_files
   SET parse_status = 'processing', claim = %(claim)s, claimed_at = {_NOW}, attempts = attempts + 1
 WHERE id = (
       SELECT id FROM uploaded_files f WHERE {_DUE}
        ORDER BY (SELECT count(*) FROM uploaded_files w WHERE w.user_id = f.user_id AND w.parse_status = 'processing'),
                 created_at
        LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, kind, storage_key, attempts
"""  # noqa: S608 - constants only
_GIVE_UP = f"""
UPDATE uploaded_files
   SET parse_status = 'failed', claim = NULL,
       parse_error_code = CASE parse_status WHEN 'pending' THEN %(unavailable)s ELSE %(died)s END,
       parse_error = CASE parse_status WHEN 'pending' THEN %(unavailable_detail)s ELSE %(died_detail)s END
 WHERE {_LOST} AND attempts >= %(attempts)s
    OR parse_status = 'pending' AND unavailable_since < {_NOW} - make_interval(secs => %(unavailable_s)s)
RETURNING id, kind, parse_error_code
"""  # noqa: S608 - constants only


class ClockTimestamp(Func):
    """Not Django's `Now`, which is the beginning of the transaction."""

    template = _NOW
    output_field = DateTimeField()


@dataclass(frozen=True, slots=True)
class Job:
    """A file in this process's hands."""

    file_id: UUID
    kind: str
    storage_key: str
    attempt: int
    claim: UUID


def has_due() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM uploaded_files WHERE {_DUE})", _parameters())  # noqa: S608
        return bool(cursor.fetchone()[0])


def claim() -> Job | None:
    """Take the file that waits longest; None where none does.

    Locks:       its row (SKIP LOCKED), for this statement.
    """
    token = uuid4()
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {**_parameters(), "claim": token})
        row = cursor.fetchone()
    return None if row is None else Job(row[0], row[1], row[2], row[3], token)


def completed(job: Job, parsed: Parsed) -> bool:
    """Write the text, all of it or nothing. False where the claim was lost, or the file deleted: nothing is written."""
    pieces = [
        FilePassage(file_id=job.file_id, position=position, start_char=start, text=text)
        for position, (start, text) in enumerate(split(parsed.text))
    ]
    with transaction.atomic():
        # First, because it locks the row: a deletion waits, and takes the text along.
        if not _end(job, parse_status="completed", characters=len(parsed.text), is_truncated=parsed.is_truncated):
            return False
        FilePassage.objects.bulk_create(pieces, batch_size=_BATCH)
    metrics.parsed(kind=job.kind, outcome="completed")
    return True


def failed(job: Job, failure: ParseFailed) -> bool:
    """Record why there is no text. False where the claim was lost."""
    is_ours = _end(job, parse_status="failed", parse_error_code=failure.code, parse_error=failure.detail[:500])
    if is_ours:
        metrics.parsed(kind=job.kind, outcome=failure.code)
    return is_ours


def renewed(job: Job) -> bool:
    """The lease counts anew, for what comes now. False where the claim was lost."""
    return bool(_mine(job).update(claimed_at=ClockTimestamp()))


def given_back(job: Job) -> None:
    """Nothing could be tried: the file waits, behind those that can be, and this attempt does not count."""
    _mine(job).update(
        parse_status="pending", claim=None, attempts=job.attempt - 1,
        unavailable_since=Coalesce("unavailable_since", ClockTimestamp()),
    )  # fmt: skip


def give_up() -> int:
    """End the files whose last attempt died with its worker, or whose bytes cannot be had; returns how many."""
    said = {
        "died": DIED.code, "died_detail": DIED.detail,
        "unavailable": UNAVAILABLE.code, "unavailable_detail": UNAVAILABLE.detail,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_UP, {**_parameters(), **said})
        rows = cursor.fetchall()
    for file_id, kind, code in rows:
        log.error("file_given_up", file_id=str(file_id), kind=kind, code=code)
        metrics.parsed(kind=kind, outcome=code)
    return len(rows)


def _mine(job: Job) -> QuerySet[UploadedFile]:
    return UploadedFile.objects.filter(id=job.file_id, claim=job.claim, parse_status="processing")


def _end(job: Job, **outcome: object) -> bool:
    return bool(_mine(job).update(claim=None, unavailable_since=None, **outcome))


def _parameters() -> dict[str, Any]:
    return {
        "lease_s": settings.FILE_PARSE_TIMEOUT_S + LEASE_GRACE_S, "attempts": ATTEMPTS_MAX,
        "pause_s": UNAVAILABLE_PAUSE_S, "unavailable_s": UNAVAILABLE_MAX_S,
    }  # fmt: skip

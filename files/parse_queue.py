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

from files import metrics
from files.models import FilePassage, UploadedFile
from files.parsing.outcome import Parsed, ParseFailed
from files.passages import split

log = structlog.get_logger(__name__)
ATTEMPTS_MAX = 3
# Beyond the time that parsing may take: for fetching the bytes and writing the text.
LEASE_GRACE_S = 15
_BATCH = 500
DIED = ParseFailed("parser_died", "Reading this file failed several times, for a reason that is not known.")

_LOST = "parse_status = 'processing' AND claimed_at < clock_timestamp() - make_interval(secs => %(lease_s)s)"
_DUE = f"(parse_status = 'pending' OR ({_LOST} AND attempts < %(attempts)s))"
_CLAIM = f"""
UPDATE uploaded_files
   SET parse_status = 'processing', claim = %(claim)s, claimed_at = clock_timestamp(), attempts = attempts + 1
 WHERE id = (SELECT id FROM uploaded_files WHERE {_DUE} ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, kind, storage_key, attempts
"""  # noqa: S608 - constants only
_GIVE_UP = f"""
UPDATE uploaded_files SET parse_status = 'failed', parse_error_code = %(code)s, parse_error = %(detail)s, claim = NULL
 WHERE {_LOST} AND attempts >= %(attempts)s
RETURNING id, kind
"""  # noqa: S608 - constants only


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


def given_back(job: Job) -> None:
    """Nothing was tried: the file waits again, and this attempt does not count."""
    mine = UploadedFile.objects.filter(id=job.file_id, claim=job.claim, parse_status="processing")
    mine.update(parse_status="pending", claim=None, claimed_at=None, attempts=job.attempt - 1)


def give_up() -> int:
    """End the files whose last attempt died with its worker; returns how many. Idempotent."""
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_UP, {**_parameters(), "code": DIED.code, "detail": DIED.detail})
        rows = cursor.fetchall()
    for file_id, kind in rows:
        log.error("file_given_up", file_id=str(file_id), kind=kind)
        metrics.parsed(kind=kind, outcome=DIED.code)
    return len(rows)


def _end(job: Job, **outcome: object) -> bool:
    mine = UploadedFile.objects.filter(id=job.file_id, claim=job.claim, parse_status="processing")
    return bool(mine.update(claim=None, **outcome))


def _parameters() -> dict[str, Any]:
    return {"lease_s": settings.FILE_PARSE_TIMEOUT_S + LEASE_GRACE_S, "attempts": ATTEMPTS_MAX}

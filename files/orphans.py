"""What nobody can reach any more: files of deleted rooms, and objects that no row names.

Objects lose their row when a process dies between storing and inserting, or when a storage was away. Only what is older
than a day is looked at: an upload stores its bytes first. Where suddenly very much would go, nothing does: then it is
rather the database that is another one, or an older one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TypeVar

import structlog
from django.utils import timezone

from files import metrics, rooms, services, storage
from files.models import UploadedFile

log = structlog.get_logger(__name__)
T = TypeVar("T")
AGE = timedelta(days=1)
# More than this at once, and more than one object in so many, is left to people.
SUSPICIOUS = 100
SUSPICIOUS_SHARE = 10
_BATCH = 500
# The rest has time until tomorrow.
_MOST = 50_000


def remove_files_of_gone_rooms() -> int:
    """Delete them, rows, texts and bytes; returns how many. Idempotent."""
    in_rooms = UploadedFile.objects.order_by("room_id").values_list("room_id", flat=True).distinct()
    removed = 0
    for batch in _batches(in_rooms.iterator(chunk_size=_BATCH)):
        for file in UploadedFile.objects.filter(room_id__in=rooms.gone(batch)):
            removed += services.remove(file)
    return removed


def remove_orphans(*, however_many: bool = False) -> int:
    """Remove objects without a row; returns how many. Idempotent, safe beside uploads and beside itself.

    `however_many`: somebody has looked, and means it. Raises: OSError.
    """
    orphans, old = _found()
    if not however_many and len(orphans) > max(SUSPICIOUS, old // SUSPICIOUS_SHARE):
        log.error("orphans_too_many", orphans=len(orphans), objects=old)
        metrics.orphans_left(len(orphans))
        return 0
    return sum(storage.release(key) for key in orphans)


def _found() -> tuple[list[str], int]:
    """The keys without a row, and how many objects were looked at."""
    before = timezone.now() - AGE
    orphans: list[str] = []
    seen = 0
    # What is not ours may lie beside it; it is none of our business.
    old = (key for key, stored_at in storage.backend().objects() if stored_at < before and storage.is_ours(key))
    for keys in _batches(old):
        seen += len(keys)
        named = set(UploadedFile.objects.filter(storage_key__in=keys).values_list("storage_key", flat=True))
        orphans += [key for key in keys if key not in named][: _MOST - len(orphans)]
        storage.give_connection_back()
    return orphans, seen


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch

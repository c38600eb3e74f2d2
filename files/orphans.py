"""Objects that no row names: left by a process that died between storing and inserting, or by a storage that was away.

Only what is older than a day is looked at: an upload stores its bytes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice

from django.utils import timezone

from files import storage
from files.models import UploadedFile

AGE = timedelta(days=1)
_BATCH = 500


def remove_orphans() -> int:
    """Remove them; returns how many. Idempotent, safe beside uploads and beside itself. Raises: OSError."""
    before = timezone.now() - AGE
    old = (key for key, stored_at in storage.backend().objects() if stored_at < before)
    removed = 0
    for keys in _batches(old):
        named = set(UploadedFile.objects.filter(storage_key__in=keys).values_list("storage_key", flat=True))
        removed += sum(storage.release(key) for key in keys if key not in named)
        storage.give_connection_back()
    return removed


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    left = iter(keys)
    while batch := list(islice(left, _BATCH)):
        yield batch

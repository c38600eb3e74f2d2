"""One moment for all of a report, and the memory that its groups need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from config.core.transactions import snapshot

# Of each sort or hash table. PostgreSQL's default of 4 MB would put a hundred thousand users' sums on disk.
_WORK_MEM = "SET LOCAL work_mem = '64MB'"


@contextmanager
def one_moment() -> Iterator[None]:
    """Everything read inside is as of one moment. It locks nothing."""
    with snapshot():
        with connection.cursor() as cursor:
            cursor.execute(_WORK_MEM)
        yield

"""The bytes of files, by key. Equal uploads of a user are one object; it goes with the last row that names it."""

from __future__ import annotations

import hashlib
import re
import tempfile
from typing import Any, BinaryIO
from uuid import UUID

import structlog
from django.core.files.base import File
from django.core.files.storage import storages
from django.db import connection, transaction

from config.core.transactions import DATABASE_ERRORS, patience_sql
from files.errors import StorageUnavailable
from files.models import UploadedFile

log = structlog.get_logger(__name__)
CHUNK_BYTES = 262_144
_KEY = re.compile(r"[0-9a-f-]{36}/[0-9a-f]{64}|\.arriving/[^/]+")


def give_connection_back() -> None:
    """Before waiting for a storage or a parser, which may take their time: the pool has few."""
    if not connection.in_atomic_block:
        connection.close()


def key_of(*, user_id: UUID, sha256: str) -> str:
    return f"{user_id}/{sha256}"


def is_ours(key: str) -> bool:
    """Whether a key is one that we make, or what an upload has before it has one."""
    return _KEY.fullmatch(key) is not None


def backend() -> Any:
    return storages["files"]


def has(key: str) -> bool:
    """Raises: StorageUnavailable."""
    try:
        return bool(backend().exists(key))
    except OSError as error:
        raise _away(error) from error


def put(key: str, content: BinaryIO) -> None:
    """Store a file, in the place of what may lie there under the same key. Raises: StorageUnavailable."""
    try:
        # Not `save`, which looks for another name where there is an object.
        backend()._save(key, File(content))
    except OSError as error:
        raise _away(error) from error


def opened(key: str) -> BinaryIO:
    """To be read from the beginning and closed. Raises: FileNotFoundError, StorageUnavailable."""
    try:
        found: BinaryIO = backend().open(key)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _away(error) from error
    return found


def local_copy(key: str) -> BinaryIO:
    """With a descriptor that a child process can be given, and compared with the hash that its key ends in.

    Raises: FileNotFoundError; StorageUnavailable, also where other bytes came than were stored.
    """
    copy, digest = tempfile.TemporaryFile(), hashlib.sha256()  # noqa: SIM115 - the caller closes it
    try:
        with opened(key) as source:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
        copy.flush()
        _ensure_same(digest.hexdigest(), key)
    except BaseException as error:
        copy.close()
        if isinstance(error, FileNotFoundError) or not isinstance(error, OSError):
            raise
        raise _away(error) from error
    return copy


def _ensure_same(sha256: str, key: str) -> None:
    if sha256 != key.rpartition("/")[2]:
        raise OSError(f"{key} came damaged")


def lock(key: str) -> None:
    """Until the end of the transaction nobody else inserts a row with this key or removes its object."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {patience_sql()}")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"files:{key}"])


def release(key: str) -> bool:
    """Remove an object that no row names; False where it stays.

    Locks:       the key, until the object is gone, so that an equal upload stores it anew.
    Idempotent:  yes. Not in the transaction that deletes the row: that could still be rolled back.
    """
    try:
        with transaction.atomic():
            lock(key)
            if UploadedFile.objects.filter(storage_key=key).exists():
                return False
            backend().delete(key)
    except (OSError, *DATABASE_ERRORS) as error:
        # Also where the storage took longer than a transaction may be idle. The nightly search for orphans finds it.
        log.warning("object_not_removed", key=key, error=str(error))
        return False
    return True


def _away(error: OSError) -> StorageUnavailable:
    log.error("storage_unavailable", error=str(error))
    return StorageUnavailable()

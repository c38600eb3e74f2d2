"""Files of rooms: every write that a request asks for. All scoped to the owner; another user's ids are not found."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from config.core.errors import NotFound
from config.core.transactions import after_commit
from files import rooms, storage
from files.announcing import announce
from files.errors import StorageUnavailable
from files.models import UploadedFile
from files.receiving import ReceivedFile

# An equal file may be deleted, object and all, between storing ours and naming it.
STORE_ATTEMPTS = 3


def ensure_room(*, user_id: UUID, room_id: UUID) -> None:
    """Raises: NotFound."""
    if not rooms.owns(user_id=user_id, room_id=room_id):
        raise NotFound


def files_of_room(*, user_id: UUID, room_id: UUID) -> QuerySet[UploadedFile]:
    """Raises: NotFound."""
    ensure_room(user_id=user_id, room_id=room_id)
    return UploadedFile.objects.filter(user_id=user_id, room_id=room_id)


def file_of(*, user_id: UUID, file_id: UUID) -> UploadedFile:
    """A file of a room that is there. Raises: NotFound."""
    file = UploadedFile.objects.filter(id=file_id, user_id=user_id).first()
    if file is None:
        raise NotFound
    ensure_room(user_id=user_id, room_id=file.room_id)
    return file


def upload(*, user_id: UUID, room_id: UUID, received: ReceivedFile) -> UploadedFile:
    """Store a file that was received and judged, and have it parsed. The room was looked at before.

    Locks:       the storage key, while the row is inserted.
    Idempotent:  no: two uploads are two rows. Equal bytes of one user are stored once.
    Crash:       between storing and inserting it leaves an object without a row, which `remove_orphans` takes away.
    Raises:      StorageUnavailable.
    """
    key = storage.key_of(user_id=user_id, sha256=received.sha256)
    for _ in range(STORE_ATTEMPTS):
        storage.give_connection_back()
        if not storage.has(key):
            storage.put(key, received.content)
        with transaction.atomic():
            storage.lock(key)
            if not storage.has(key):
                continue
            row = UploadedFile.objects.create(
                user_id=user_id, room_id=room_id, name=received.name, kind=received.kind,
                size_bytes=received.size_bytes, sha256=received.sha256, storage_key=key,
            )  # fmt: skip
            after_commit(announce)
            return UploadedFile.objects.get(pk=row.pk)
    raise StorageUnavailable


def delete(*, user_id: UUID, file_id: UUID) -> None:
    """Delete a file of a room that is there.

    Locks:       as `remove`.
    Idempotent:  a second time it is not found.
    Raises:      NotFound.
    """
    if not remove(file_of(user_id=user_id, file_id=file_id)):
        raise NotFound


def remove(file: UploadedFile) -> bool:
    """Delete a file, whoever asks: row, text and, unless an equal one is left, bytes. False where it was gone already.

    Locks:       the row, then (on its own) the storage key.
    """
    with transaction.atomic():
        # Locked first: a worker that is just writing the text would otherwise be left with a text of no file.
        locked = UploadedFile.objects.select_for_update().filter(pk=file.pk).first()
        if locked is None:
            return False
        locked.delete()
    storage.release(file.storage_key)
    return True


def delete_files_of_user(user_id: UUID) -> int:
    """Delete all files of a user, of deleted rooms too; returns how many. Idempotent. For erasure."""
    with transaction.atomic():
        mine = UploadedFile.objects.select_for_update().filter(user_id=user_id).order_by("id")
        keys = [file.storage_key for file in mine]
        UploadedFile.objects.filter(user_id=user_id).delete()
    for key in set(keys):
        storage.release(key)
    return len(keys)

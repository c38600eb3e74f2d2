"""An upload, read part by part: onto the disk, hashed and counted on its way, never whole in memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import structlog
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from rest_framework.exceptions import UnsupportedMediaType

from config.core.errors import FileTooLarge, ValidationFailed
from files.errors import StorageUnavailable, UnsupportedFileType, UploadMalformed
from files.names import clean_name
from files.parsing.sniffing import HEAD_BYTES, TAIL_BYTES, kind_of

log = structlog.get_logger(__name__)
FIELD = "file"


class ReceivedFile:
    """What came so far. `content` is a file without a name, which is gone once it is closed, or the process is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = ""
        self.size_bytes = 0
        self.content: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - `received` closes it
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def add(self, chunk: bytes) -> None:
        """Raises: FileTooLarge."""
        self.size_bytes += len(chunk)
        if self.size_bytes > settings.FILE_MAX_BYTES:
            raise FileTooLarge(limit_bytes=settings.FILE_MAX_BYTES)
        self._hash.update(chunk)
        self.content.write(chunk)

    def judge(self) -> None:
        """Raises: ValidationFailed for an empty file, UnsupportedFileType."""
        if not self.size_bytes:
            raise ValidationFailed("This file is empty.", field=FIELD, error_code="empty")
        self.content.seek(0)
        head = self.content.read(HEAD_BYTES)
        self.content.seek(max(0, self.size_bytes - TAIL_BYTES))
        kind = kind_of(head=head, tail=self.content.read(TAIL_BYTES), name=self.name)
        if kind is None:
            raise UnsupportedFileType
        self.kind = kind


@contextmanager
def received(request: HttpRequest) -> Iterator[ReceivedFile]:
    """The file of a multipart request, to be used before the block ends.

    Raises: UnsupportedMediaType, UploadMalformed, FileTooLarge, UnsupportedFileType, ValidationFailed,
    StorageUnavailable.
    """
    receiver = _Receiver()
    try:
        try:
            others = _read(request, receiver)
        except OSError as error:
            # No room left on the disk, most likely.
            log.error("upload_not_kept", error=str(error))
            raise StorageUnavailable from error
        unknown = sorted({*others, *receiver.others})
        if FIELD in unknown:
            raise ValidationFailed("This part has no file name.", field=FIELD, error_code="required")
        if unknown:
            raise ValidationFailed("Unknown member.", field=unknown[0][:100], error_code="unknown_field")
        if receiver.taken is None:
            raise ValidationFailed("One file, with its name, is expected.", field=FIELD, error_code="required")
        receiver.taken.judge()
        yield receiver.taken
    finally:
        if receiver.taken is not None:
            receiver.taken.content.close()


def _read(request: HttpRequest, receiver: _Receiver) -> list[str]:
    """The names of all other fields."""
    media_type, _, parameters = request.META.get("CONTENT_TYPE", "").partition(";")
    if media_type.strip().lower() != "multipart/form-data":
        raise UnsupportedMediaType(media_type[:100])
    # Without a declared length Django would take the body for empty. How long it may be is judged before and below.
    length = request.META.get("CONTENT_LENGTH") or "1"
    meta = {"CONTENT_TYPE": f"multipart/form-data;{parameters}", "CONTENT_LENGTH": length}
    try:
        fields, _ = _Parser(meta, request, [receiver], "utf-8").parse()
    except (MultiPartParserError, SuspiciousOperation):
        raise UploadMalformed from None
    return list(fields)


class _Parser(MultiPartParser):
    def sanitize_file_name(self, file_name: str) -> str:
        """Django's would leave out a file with the name `..` without a word."""
        return clean_name(file_name)


class _Receiver(FileUploadHandler):
    """Takes the one file of the field `file`."""

    def __init__(self) -> None:
        super().__init__()
        # Not `file`, which Django would close.
        self.taken: ReceivedFile | None = None
        self.others: set[str] = set()

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        """Raises: ValidationFailed for a second one."""
        if field_name != FIELD:
            # Read past, not skipped: Django would take a skipped file for one that was cut off.
            self.others.add(field_name)
            return
        if self.taken is not None:
            raise ValidationFailed("One file at a time.", field=FIELD, error_code="too_many")
        self.taken = ReceivedFile(file_name)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Raises: FileTooLarge."""
        if self.taken is not None and not self.others:
            self.taken.add(raw_data)

    def file_complete(self, file_size: int) -> None:
        """Nothing for Django to keep."""

    def upload_interrupted(self) -> None:
        """The body ended within the file. Raises: UploadMalformed."""
        raise UploadMalformed("The upload ended in the middle of the file.")

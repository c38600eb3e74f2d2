"""What was uploaded, and the text that was found in it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.core.ids import uuid7
from files.names import NAME_MAX_LENGTH


class UploadedFile(models.Model):
    """A file in a room. Its bytes lie in the storage under `storage_key`, once for all equal uploads of its user.

    While `processing`, `claim` says by whom and `claimed_at` since when; after the lease another may take it.
    """

    class Kind(models.TextChoices):
        TXT = "txt"
        MD = "md"
        CSV = "csv"
        JSON = "json"
        HTML = "html"
        PDF = "pdf"
        DOCX = "docx"
        XLSX = "xlsx"

    class ParseStatus(models.TextChoices):
        PENDING = "pending"
        PROCESSING = "processing"
        COMPLETED = "completed"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    # No foreign key: rooms live in an app that builds on this one.
    room_id = models.UUIDField()
    name = models.CharField(max_length=NAME_MAX_LENGTH)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=128)
    parse_status = models.CharField(max_length=16, choices=ParseStatus.choices, default=ParseStatus.PENDING)
    parse_error_code = models.CharField(max_length=32, default="", blank=True)
    parse_error = models.CharField(max_length=500, default="", blank=True)
    characters = models.IntegerField(default=0)
    is_truncated = models.BooleanField(default=False)
    attempts = models.SmallIntegerField(default=0)
    claim = models.UUIDField(null=True, editable=False)
    claimed_at = models.DateTimeField(null=True, editable=False)
    # Since when its bytes could not be had, though nobody says that they are gone.
    unavailable_since = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "uploaded_files"
        indexes = [
            models.Index(fields=["room_id", "id"], name="uploaded_file_room"),
            models.Index(fields=["storage_key"], name="uploaded_file_storage_key"),
            models.Index(
                fields=["created_at"],
                condition=Q(parse_status__in=["pending", "processing"]),
                name="uploaded_file_unparsed",
            ),
            models.Index(fields=["user"], condition=Q(parse_status="processing"), name="uploaded_file_in_work"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(parse_status="failed") & ~Q(parse_error_code="")
                | ~Q(parse_status="failed") & Q(parse_error_code=""),
                name="uploaded_file_failed_says_why",
            )
        ]

    def __str__(self) -> str:
        return self.name


class FilePassage(models.Model):
    """A piece of a file's text, from `start_char` on. The pieces in order are the text, without gap or overlap."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    file = models.ForeignKey(UploadedFile, on_delete=models.CASCADE, related_name="passages", db_index=False)
    position = models.IntegerField()
    start_char = models.IntegerField()
    text = models.TextField()
    # `simple`: files are in any language, so words are not cut down to stems of one.
    words = models.GeneratedField(
        expression=SearchVector("text", config="simple"), output_field=SearchVectorField(), db_persist=True
    )

    class Meta:
        db_table = "file_passages"
        constraints = [models.UniqueConstraint(fields=["file", "start_char"], name="file_passage_start_once")]
        indexes = [GinIndex(fields=["words"], name="file_passage_words")]

    def __str__(self) -> str:
        return f"{self.file_id}, {self.position}"

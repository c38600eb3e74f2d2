from __future__ import annotations

from typing import Any

from rest_framework import serializers

from files.models import UploadedFile
from files.parsing.sniffing import CONTENT_TYPES


class FileOut(serializers.ModelSerializer[UploadedFile]):
    """`kind` and `content_type` are judged by the content. `characters` is the length of the text that was found."""

    content_type = serializers.SerializerMethodField()
    parse_error = serializers.SerializerMethodField()
    parse_error_code = serializers.SerializerMethodField()

    class Meta:
        model = UploadedFile
        fields = (
            "id", "room_id", "name", "kind", "content_type", "size_bytes", "sha256", "parse_status", "parse_error",
            "parse_error_code", "characters", "is_truncated", "created_at",
        )  # fmt: skip
        read_only_fields = fields

    def get_content_type(self, file: UploadedFile) -> str:
        return CONTENT_TYPES[file.kind]

    def get_parse_error(self, file: UploadedFile) -> str | None:
        return file.parse_error or None

    def get_parse_error_code(self, file: UploadedFile) -> str | None:
        return file.parse_error_code or None


class UploadIn(serializers.Serializer[Any]):
    """One file; any other field is refused."""

    # For the schema alone: the body is read by `files.receiving`.
    file = serializers.FileField()

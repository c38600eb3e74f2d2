"""Refusals of this app. `FileTooLarge` is config.core's, because it is said before an upload is read."""

from __future__ import annotations

from config.core.errors import DomainError


class UnsupportedFileType(DomainError):
    code, status, title = "unsupported_file_type", 415, "Unsupported file type"

    def __init__(self) -> None:
        super().__init__(
            "By its content this is none of the types that are read: txt, md, csv, json, html, pdf, docx, xlsx."
        )


class UploadMalformed(DomainError):
    code, status, title = "malformed_upload", 400, "Malformed upload"

    def __init__(self, detail: str = "The upload is not complete multipart/form-data.") -> None:
        super().__init__(detail)


class StorageUnavailable(DomainError):
    code, status, title = "storage_unavailable", 503, "Storage unavailable"

    def __init__(self, detail: str = "The file storage does not answer; please try again.") -> None:
        super().__init__(detail, retry_after_s=5)

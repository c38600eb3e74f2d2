"""Files of rooms over HTTP. Plain views: under ASGI each has a thread, so neither disk nor storage holds the loop."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from config.core.callers import caller_id
from config.core.openapi import problems
from files import services, storage
from files.content import content_response
from files.models import UploadedFile
from files.parsing.sniffing import CONTENT_TYPES
from files.receiving import received
from files.serializers import FileOut, UploadIn

_ERRORS = ("401 not_authenticated", "404 not_found")


class RoomFilesViewSet(viewsets.GenericViewSet[UploadedFile]):
    serializer_class = FileOut
    queryset = UploadedFile.objects.none()

    def get_queryset(self) -> QuerySet[UploadedFile]:
        return services.files_of_room(user_id=caller_id(self.request), room_id=self.kwargs["room_id"])

    @extend_schema(operation_id="room_files", responses={200: FileOut(many=True), **problems(*_ERRORS)})
    def list(self, request: Request, room_id: UUID) -> Response:
        """The files of a room of yours, newest first."""
        rows = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(FileOut(rows or [], many=True).data)

    @extend_schema(
        operation_id="upload_file",
        request={"multipart/form-data": UploadIn},
        responses={
            201: FileOut,
            **problems(
                *_ERRORS, "400 malformed_upload", "413 file_too_large", "415 unsupported_file_type",
                "415 unsupported_media_type", "422 validation_error", "503 storage_unavailable",
            ),
        },
    )  # fmt: skip
    def create(self, request: Request, room_id: UUID) -> Response:
        """Upload a file (txt, md, csv, json, html, pdf, docx, xlsx). Its text is read later: see `parse_status`."""
        user_id = caller_id(request)
        services.ensure_room(user_id=user_id, room_id=room_id)
        storage.give_connection_back()
        with received(request._request) as file:
            row = services.upload(user_id=user_id, room_id=room_id, received=file)
        return Response(FileOut(row).data, status=201)


class FileViewSet(viewsets.GenericViewSet[UploadedFile]):
    serializer_class = FileOut
    queryset = UploadedFile.objects.none()

    @extend_schema(operation_id="file", responses={200: FileOut, **problems(*_ERRORS)})
    def retrieve(self, request: Request, file_id: UUID) -> Response:
        """One of your files, with how far its text has been read."""
        return Response(FileOut(services.file_of(user_id=caller_id(request), file_id=file_id)).data)

    @extend_schema(operation_id="delete_file", responses={204: None, **problems(*_ERRORS)})
    def destroy(self, request: Request, file_id: UUID) -> Response:
        """Delete a file, its text and its bytes. What agents have said about it stays."""
        services.delete(user_id=caller_id(request), file_id=file_id)
        return Response(status=204)


class _AsItIs(BaseContentNegotiation):
    """A file has one form. Whatever is accepted, that is sent, and a refusal is JSON."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0] if parsers else None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class FileContentViewSet(viewsets.GenericViewSet[UploadedFile]):
    serializer_class = FileOut
    queryset = UploadedFile.objects.none()
    content_negotiation_class = _AsItIs

    @extend_schema(
        operation_id="file_content",
        responses={
            **{(200, content_type): OpenApiTypes.BINARY for content_type in CONTENT_TYPES.values()},
            **problems(*_ERRORS, "503 storage_unavailable"),
        },
    )
    def retrieve(self, request: Request, file_id: UUID) -> HttpResponseBase:
        """The bytes of one of your files, as an attachment."""
        return content_response(services.file_of(user_id=caller_id(request), file_id=file_id))

"""Keyset paging: a page is found by the last id of the one before, so rows that arrive meanwhile shift nothing."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError
from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

NOT_OURS = {"cursor": "This cursor is not one of ours."}


class KeysetPagination(CursorPagination):
    """Newest first by UUIDv7 id. A view names another unique key as `keyset_ordering`."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-id"

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        return (getattr(view, "keyset_ordering", self.ordering),)

    def decode_cursor(self, request: Request) -> Any:
        try:
            return super().decode_cursor(request)
        except NotFound:
            raise ValidationError(NOT_OURS) from None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (DjangoValidationError, ValueError, DataError):
            # A cursor of the right form whose position the key's column cannot be compared with.
            if getattr(self.cursor, "position", None) is None:
                raise
            raise ValidationError(NOT_OURS) from None

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """OpenAPI 3.1 knows no `nullable`, which is what Django REST framework would say."""
        described: dict[str, Any] = super().get_paginated_response_schema(schema)
        for name in ("next", "previous"):
            described["properties"][name] = {"type": ["string", "null"], "format": "uri"}
        return described

    def get_page_size(self, request: Request) -> int | None:
        raw = request.query_params.get("page_size")
        if raw is not None and not (raw.isascii() and raw.isdigit() and 1 <= int(raw[:9]) <= 200):
            raise ValidationError({"page_size": "Between 1 and 200."})
        return super().get_page_size(request)

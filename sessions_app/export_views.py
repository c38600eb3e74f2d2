"""A conversation to take away: one file, as JSON or Markdown."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.http import Http404, HttpResponseBase, StreamingHttpResponse
from django.utils.text import slugify
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from config.core.callers import caller_id
from config.core.openapi import problems
from sessions_app.exporting import JSON, MARKDOWN, export
from sessions_app.models import Session
from sessions_app.serializers import ExportOut
from sessions_app.services import session_of

NAME_MAX_LENGTH = 50


class MarkdownRenderer(BaseRenderer):
    """Lets `Accept: text/markdown` through content negotiation; the view streams the answer itself."""

    media_type = "text/markdown"
    format = "md"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return bytes(JSONRenderer().render(data))


class NamedFormats(DefaultContentNegotiation):
    """DRF answers `?format=pdf` as if there were no such session. There is, but not as PDF."""

    def filter_renderers(self, renderers: Any, format: str) -> Any:
        try:
            return super().filter_renderers(renderers, format)
        except Http404:
            raise NotAcceptable("Exported as json or md.") from None


class SessionExportView(APIView):
    renderer_classes = [JSONRenderer, MarkdownRenderer]
    content_negotiation_class = NamedFormats

    @extend_schema(
        operation_id="export_session",
        responses={
            (200, "application/json"): ExportOut,
            (200, "text/markdown"): OpenApiTypes.STR,
            **problems("401 not_authenticated", "404 not_found", "406 not_acceptable"),
        },
    )
    def get(self, request: Request, session_id: UUID) -> HttpResponseBase:
        """The whole conversation in order, as a file: `?format=json` (the default) or `md`, or by `Accept`."""
        session = session_of(user_id=caller_id(request), session_id=session_id)
        is_markdown = getattr(request.accepted_renderer, "format", "") == MarkdownRenderer.format
        response = StreamingHttpResponse(
            export(session, MARKDOWN if is_markdown else JSON),
            content_type="text/markdown; charset=utf-8" if is_markdown else "application/json",
        )
        response["Content-Disposition"] = attachment(session, extension="md" if is_markdown else "json")
        return response


def attachment(session: Session, *, extension: str) -> str:
    """A file name made of letters, digits and dashes of the title (RFC 6266), in ASCII for those who read no more.

    The day after it keeps it from being one of the names that Windows has for devices.
    """
    ending = f"-{session.created_at:%Y-%m-%d}.{extension}"
    ascii_name = (slugify(session.title)[:NAME_MAX_LENGTH].strip("-_") or "session") + ending
    name = (slugify(session.title, allow_unicode=True)[:NAME_MAX_LENGTH].strip("-_") or "session") + ending
    header = f'attachment; filename="{ascii_name}"'
    return header if name == ascii_name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"

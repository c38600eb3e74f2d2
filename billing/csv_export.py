"""CSV answers that stream.

Rows are read in pieces by keyset, so a long history needs no more memory than a short one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.renderers import BaseRenderer

from config.core.transactions import in_thread

# What begins a formula, full-width forms among it.
_FORMULA_MARKS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CONTROLS = ("\t", "\r", "\n")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class CSVRenderer(BaseRenderer):
    """Lets `Accept: text/csv` through content negotiation; the view streams the answer itself."""

    media_type = "text/csv"
    format = "csv"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return csv_text([data]).encode()


def wants_csv(request: Any) -> bool:
    return getattr(request.accepted_renderer, "format", "") == "csv"


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def stream_csv(
    *, filename: str, header: Sequence[str], page: Callable[[Any], tuple[list[Sequence[Any]], Any]]
) -> StreamingHttpResponse:
    """`page(after)` returns rows and the key to go on after, None at the end. It runs in a database thread."""

    async def chunks() -> AsyncIterator[bytes]:
        yield csv_text([header]).encode()
        after: Any = None
        while True:
            rows, after = await in_thread(lambda after=after: page(after))  # type: ignore[misc]
            if rows:
                yield csv_text(rows).encode()
            if after is None:
                return

    response = StreamingHttpResponse(chunks(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def _cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula. Numbers stay numbers, a leading minus included."""
    text = "" if value is None else str(value)
    # Spaces in front of a formula are dropped by some.
    if text.startswith(_CONTROLS) or (text.lstrip().startswith(_FORMULA_MARKS) and not _NUMBER.fullmatch(text)):
        return "'" + text
    return text

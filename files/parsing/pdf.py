"""PDF: the text of each page. Pictures are not read, so a scan has none."""

from __future__ import annotations

from typing import Any, BinaryIO

from pypdf import PasswordType, PdfReader
from pypdf.errors import LimitReachedError, PyPdfError
from pypdf.generic import IndirectObject

from files.parsing.outcome import PAGES_MAX, ParseFailed, TextOut

_DAMAGED = "This PDF is damaged and cannot be read."


def parse(source: BinaryIO, out: TextOut) -> None:
    """Raises: ParseFailed, TextFull."""
    try:
        reader = PdfReader(source, strict=False)
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise ParseFailed("encrypted", "This PDF is protected by a password.")
        _check_pages(_declared_pages(reader))
        for number, page in enumerate(reader.pages, 1):
            _check_pages(number)
            out.add(page.extract_text().strip())
            out.add("\n\n")
    except LimitReachedError:
        raise ParseFailed(
            "expands_too_far", "A part of this PDF is too large, or nested too deeply, to be read."
        ) from None
    except PyPdfError:
        raise ParseFailed("malformed", _DAMAGED) from None


def _declared_pages(reader: PdfReader) -> int:
    """What the file says of itself, because counting them by hand would go through all."""
    root: Any = reader.trailer["/Root"]
    count = root["/Pages"].get("/Count", 0)
    count = count.get_object() if isinstance(count, IndirectObject) else count
    return int(count) if isinstance(count, int) else 0


def _check_pages(pages: int) -> None:
    if pages > PAGES_MAX:
        raise ParseFailed("too_many_pages", f"A PDF may have {PAGES_MAX:,} pages; this one has {pages:,}.")

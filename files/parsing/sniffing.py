"""What is it? Judged by the bytes. A name only chooses among forms of plain text, which bytes cannot tell apart."""

from __future__ import annotations

import json
import re

from files.parsing.decoding import decoded

HEAD_BYTES = 65_536
# The list of what a ZIP archive holds is at its end.
TAIL_BYTES = 262_144
CONTENT_TYPES = {
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "json": "application/json",
    "html": "text/html",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# Of these some are text to the letter, the others might be to a lenient decoder. All else that is no text shows it.
_REFUSED = (b"\x7fELF", b"MZ\x90\x00", b"%!PS", b"{\\rtf", b"\x1f\x8b")
# At the beginning of a line: a text may well speak of the mark.
_PDF_MARK = re.compile(rb"(?:\A|[\r\n])%PDF-\d")
# What a PDF has besides, a damaged one in part.
_PDF_SIGNS = (b"startxref", b"%%EOF", b" obj")
# The fixed part of an entry in a ZIP archive's list, and of the one before each member. A name elsewhere is content.
_LISTED = rb"(?s:PK\x01\x02.{42}|PK\x03\x04.{26})"
_DOCX = re.compile(_LISTED + rb"word/document\.xml")
_XLSX = re.compile(_LISTED + rb"xl/workbook\.xml")
_HTML = re.compile(r"\s*<(?:!doctype\s+html|html|head|body)\b", re.I)
_BEFORE_HTML = re.compile(r"\s*(?:<\?xml[^>]{0,200}>|<!--)")
_HEADING = re.compile(r"^(?:#{1,6} \S|```)", re.M)
_SEPARATORS = (",", ";", "\t", "|")


def kind_of(*, head: bytes, tail: bytes, name: str = "") -> str | None:
    """One of CONTENT_TYPES, or None. `head` and `tail`: the first and last bytes, as many as the constants say."""
    if head.startswith(b"PK\x03\x04"):
        return _office_kind(head + tail)
    if head.startswith(_REFUSED):
        return None
    if _is_pdf(head, tail):
        return "pdf"
    text = decoded(head, is_whole=len(head) < HEAD_BYTES)
    return None if text is None else _text_kind(text, name.lower())


def _is_pdf(head: bytes, tail: bytes) -> bool:
    """Readers of PDF allow for rubbish before it."""
    return _PDF_MARK.search(head[:1024]) is not None and any(sign in head or sign in tail for sign in _PDF_SIGNS)


def _office_kind(listing: bytes) -> str | None:
    if _DOCX.search(listing):
        return "docx"
    return "xlsx" if _XLSX.search(listing) else None


def _text_kind(text: str, name: str) -> str:
    if _is_html(text):
        return "html"
    if _is_json(text):
        return "json"
    if name.endswith((".csv", ".tsv")) or (not name.endswith((".txt", ".md")) and _is_table(text)):
        return "csv"
    if name.endswith((".md", ".markdown")) or (not name.endswith(".txt") and _HEADING.search(text)):
        return "md"
    return "txt"


def _is_html(text: str) -> bool:
    """After a declaration and comments, which are skipped by hand: one expression for all may take for ever to fail."""
    start = 0
    while (before := _BEFORE_HTML.match(text, start)) is not None:
        start = before.end()
        if before[0].endswith("<!--"):
            start = text.find("-->", start) + 3
            if start < 3:
                return False
    return _HTML.match(text, start) is not None


def _is_json(text: str) -> bool:
    """An object or an array, whole or cut at the end of the head."""
    text = text.strip()
    if not text.startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        is_cut = len(text) >= HEAD_BYTES // 4 and error.msg != "Extra data"
        return is_cut and (error.msg.startswith("Unterminated string") or error.pos >= len(text) - 32)
    except (RecursionError, ValueError):
        # ValueError: a number of thousands of digits.
        return True
    return True


def _is_table(text: str) -> bool:
    """At least two full lines, and the first ones all have the same number of the same separator."""
    lines = [line for line in text.splitlines()[:-1][:10] if line.strip()]
    if len(lines) < 2:
        return False
    return any(lines[0].count(mark) and len({line.count(mark) for line in lines}) == 1 for mark in _SEPARATORS)

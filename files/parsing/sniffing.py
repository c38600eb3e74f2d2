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
_REFUSED = (b"\x7fELF", b"%!PS", b"{\\rtf", b"\x1f\x8b")
_HTML = re.compile(r"\s*<(?:!doctype\s+html|html|head|body)\b", re.I)
_BEFORE_HTML = re.compile(r"\s*(?:<\?xml[^>]{0,200}>|<!--)")
_HEADING = re.compile(r"^(?:#{1,6} \S|```)", re.M)
_SEPARATORS = (",", ";", "\t", "|")


def kind_of(*, head: bytes, tail: bytes, name: str = "") -> str | None:
    """One of CONTENT_TYPES, or None. `head` and `tail`: the first and last bytes, as many as the constants say."""
    if head.startswith(b"PK\x03\x04"):
        return _office_kind(head + tail)
    # Readers of PDF allow for rubbish before it.
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(_REFUSED):
        return None
    text = decoded(head, is_whole=len(head) < HEAD_BYTES)
    return None if text is None else _text_kind(text, name.lower())


def _office_kind(listing: bytes) -> str | None:
    if b"word/document.xml" in listing:
        return "docx"
    return "xlsx" if b"xl/workbook.xml" in listing else None


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
    except RecursionError:
        return True
    return True


def _is_table(text: str) -> bool:
    """At least two full lines, and the first ones all have the same number of the same separator."""
    lines = [line for line in text.splitlines()[:-1][:10] if line.strip()]
    if len(lines) < 2:
        return False
    return any(lines[0].count(mark) and len({line.count(mark) for line in lines}) == 1 for mark in _SEPARATORS)

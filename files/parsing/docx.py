"""Word documents: paragraphs, tables and notes, in the order of the file, without what was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from files.parsing.outcome import ParseFailed, TextOut
from files.parsing.zip_parts import elements, open_archive

# The usual form of the standard, and its strict one.
_WORD = (
    "{http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "{http://purl.oclc.org/ooxml/wordprocessingml/main",
)
# Says for older programs what was just said for newer ones. `moveFrom` is where a passage stood before.
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_PARTS = ("word/document.xml", "word/footnotes.xml", "word/endnotes.xml")
_AT_END = {"p": "\n", "tc": "\t", "tr": "\n", "tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def parse(source: BinaryIO, out: TextOut) -> None:
    """Raises: ParseFailed, TextFull."""
    archive = open_archive(source)
    names = set(archive.namelist())
    if _PARTS[0] not in names:
        raise ParseFailed("malformed", "This is no Word document: its main part is missing.")
    for part in _PARTS:
        if part in names:
            for piece in _pieces(elements(archive, part)):
                out.add(piece)


def _pieces(events: Iterator[tuple[str, Any]]) -> Iterator[str]:
    cells = unread = 0
    for event, element in events:
        step = 1 if event == "start" else -1
        namespace, _, name = element.tag.rpartition("}")
        is_words = namespace in _WORD
        if element.tag == _FALLBACK or (is_words and name == "moveFrom"):
            unread += step
        if not is_words or unread:
            continue
        if name == "tc":
            cells += step
        if event == "start":
            continue
        if name == "t":
            yield element.text or ""
        elif name == "p" and cells:
            # Within a cell a line end would tear the row apart.
            yield " "
        elif name in _AT_END:
            yield _AT_END[name]
        if name in ("p", "tr", "tbl"):
            element.clear()

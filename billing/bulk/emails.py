"""A list of e-mail addresses as staff have it: a text with one a line, or a CSV table with a column of them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass

# A confirmation carries the list with it; Django takes a form of 1 MB.
FILE_MAX_BYTES = 600_000
ROWS_MAX = 10_000
CELL_MAX = 254
_HEADER_NAMES = ("email", "e-mail", "mail", "e-mail address", "email address")
# A first line that spreadsheets write for each other.
_NAMES_DELIMITER = re.compile(r"sep=([,;\t])", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')


class Unreadable(Exception):
    """Said to whoever sent the file."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file, by the number that an editor shows, and what stands in it, be it an address or not."""

    line: int
    text: str


def read(content: bytes) -> list[Row]:
    """The rows of a file, empty lines left out. The column is the one that the header names, else the first address.

    Raises: Unreadable.
    """
    text = text_of(content)
    if "\x00" in text:
        raise Unreadable("The file is no text: it contains NUL. A workbook has to be saved as CSV.")
    rows = _rows(text)
    if not rows:
        raise Unreadable("There is no address in the file.")
    if len(rows) > ROWS_MAX:
        raise Unreadable(f"The file has {len(rows):,} rows; at most {ROWS_MAX:,}. Send it in parts.")
    return rows


def text_of(content: bytes) -> str:
    """UTF-8, or UTF-16 that says so, as spreadsheets write "Unicode text". Raises: Unreadable."""
    if len(content) > FILE_MAX_BYTES:
        raise Unreadable(f"The file has {len(content):,} bytes; at most {FILE_MAX_BYTES:,}.")
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"The file is not UTF-8 (byte {error.start + 1}). Save it as CSV UTF-8.") from None


def _rows(text: str) -> list[Row]:
    first = text.lstrip().partition("\n")[0].rstrip("\r")
    names_delimiter = _NAMES_DELIMITER.fullmatch(first)
    delimiter = names_delimiter[1] if names_delimiter else _delimiter(first)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[Row] = []
    column = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if names_delimiter:
                names_delimiter = None
                continue
            if column is None:
                column, is_header = _column(cells)
                if is_header:
                    continue
            found.append(Row(reader.line_num, cells[column].strip() if column < len(cells) else ""))
    except csv.Error as error:
        raise Unreadable(f"Line {reader.line_num} is no CSV: {error}.") from None
    return found


def _delimiter(first: str) -> str:
    """What spreadsheets write where the comma is the decimal sign, too; what is quoted does not count."""
    bare = _QUOTED.sub("", first)
    return max(",;\t", key=bare.count) if any(mark in bare for mark in ",;\t") else ","


def _column(cells: list[str]) -> tuple[int, bool]:
    """Where the addresses are, by the first row; and whether that is a header."""
    for index, cell in enumerate(cells):
        if cell.strip().lower() in _HEADER_NAMES:
            return index, True
    return next((index for index, cell in enumerate(cells) if "@" in cell), 0), False

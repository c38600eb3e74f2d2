"""A list of e-mail addresses as staff have it: a text with one a line, or a CSV table with a column of them."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass

# A confirmation carries the list with it; Django takes a form of 1 MB.
FILE_MAX_BYTES = 600_000
ROWS_MAX = 10_000
CELL_MAX = 254
_HEADER_NAMES = ("email", "e-mail", "mail", "e-mail address", "email address")


class Unreadable(Exception):
    """Said to whoever sent the file."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file, by the number that an editor shows, and what stands in it, be it an address or not."""

    line: int
    text: str


def read(content: bytes) -> list[Row]:
    """The rows of a file, empty lines left out. The column is the one that the header names, else the first.

    Raises: Unreadable.
    """
    if len(content) > FILE_MAX_BYTES:
        raise Unreadable(f"The file has {len(content):,} bytes; at most {FILE_MAX_BYTES:,}.")
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"The file is not UTF-8 (byte {error.start + 1}). Save it as CSV UTF-8.") from None
    if "\x00" in text:
        raise Unreadable("The file is no text: it contains NUL. A workbook has to be saved as CSV.")
    rows = _rows(text)
    if not rows:
        raise Unreadable("There is no address in the file.")
    if len(rows) > ROWS_MAX:
        raise Unreadable(f"The file has {len(rows):,} rows; at most {ROWS_MAX:,}. Send it in parts.")
    return rows


def _rows(text: str) -> list[Row]:
    first = text.lstrip().partition("\n")[0]
    # What spreadsheets write where the comma is the decimal sign.
    delimiter = max(",;\t", key=first.count) if any(mark in first for mark in ",;\t") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[Row] = []
    column, is_first = 0, True
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if is_first:
                is_first = False
                named = next((i for i, cell in enumerate(cells) if cell.strip().lower() in _HEADER_NAMES), None)
                if named is not None:
                    column = named
                    continue
            found.append(Row(reader.line_num, cells[column].strip() if column < len(cells) else ""))
    except csv.Error as error:
        raise Unreadable(f"Line {reader.line_num} is no CSV: {error}.") from None
    return found

"""CSV. The text stays as it is; it is read through for its limits, and for what is no table at all."""

from __future__ import annotations

import csv
from typing import BinaryIO

from files.parsing.outcome import CELLS_MAX, COLUMNS_MAX, ParseFailed, TextOut
from files.parsing.plain import text_of

_SAMPLE_CHARS = 10_000
_SEPARATORS = ",;\t|"


def parse(source: BinaryIO, out: TextOut) -> None:
    """Raises: ParseFailed, TextFull."""
    text = text_of(source)
    sample = text[:_SAMPLE_CHARS]
    separator = max(_SEPARATORS, key=sample.count)
    cells = 0
    csv.field_size_limit(len(text) + 1)
    try:
        for row in csv.reader(text.splitlines(keepends=True), delimiter=separator):
            cells += len(row)
            check_size(columns=len(row), cells=cells)
    except csv.Error as error:
        raise ParseFailed("malformed", f"This table cannot be read: {error}.") from None
    out.add(text)


def check_size(*, columns: int, cells: int) -> None:
    """Raises: ParseFailed."""
    if columns > COLUMNS_MAX:
        raise ParseFailed("too_many_columns", f"A table may have {COLUMNS_MAX:,} columns; this one has {columns:,}.")
    if cells > CELLS_MAX:
        raise ParseFailed("too_many_cells", f"A file may have {CELLS_MAX:,} cells; this one has more.")

"""Excel workbooks: each sheet under its name, a row a line, cells apart by tabs; formulas by their last value."""

from __future__ import annotations

import datetime
import zipfile
from typing import Any, BinaryIO

import openpyxl
from defusedxml import DefusedXmlException

from files.parsing.outcome import ParseFailed, TextOut
from files.parsing.table import check_size
from files.parsing.zip_parts import HAS_ENTITIES, open_archive


def parse(source: BinaryIO, out: TextOut) -> None:
    """Raises: ParseFailed, TextFull."""
    open_archive(source)
    source.seek(0)
    try:
        # openpyxl reads all XML with defusedxml where that is installed.
        workbook = openpyxl.load_workbook(source, read_only=True, data_only=True, keep_links=False)
        cells = 0
        for sheet in workbook.worksheets:
            out.add(f"# {sheet.title}\n")
            cells = _sheet(sheet, out, cells)
            out.add("\n")
    except (zipfile.BadZipFile, KeyError, SyntaxError, ValueError) as error:
        # openpyxl wraps what it meets while it opens a workbook.
        if isinstance(error, DefusedXmlException) or isinstance(error.__cause__, DefusedXmlException):
            raise HAS_ENTITIES from None
        raise ParseFailed("malformed", "This workbook is damaged and cannot be read.") from None


def _sheet(sheet: Any, out: TextOut, cells: int) -> int:
    """The number of cells so far. A sheet that claims rows far below its last one would have them all gone through."""
    sheet.reset_dimensions()
    for row in sheet.iter_rows(values_only=True):
        # Empty ones count, too: going through millions of them is work.
        cells += max(1, len(row))
        shown = [_shown(value) for value in row]
        while shown and not shown[-1]:
            shown.pop()
        check_size(columns=len(shown), cells=cells)
        if shown:
            out.add("\t".join(shown) + "\n")
    return cells


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return " ".join(str(value).split())

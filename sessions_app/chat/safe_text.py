"""Text of others on a terminal: what would steer the terminal is shown instead of obeyed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

_REPLACEMENT = "\ufffd"
# Each C0 control character has a picture. Newline and tab stay, because they only lay the text out.
_STEERING = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: "\u2421"}
# C1 has escape sequences of one character; half of a surrogate pair cannot be written at all.
_UNSHOWN = dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000)), _REPLACEMENT)
# With these, text is shown in another order than it is stored in, and can pass for something else.
_REORDERING = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), _REPLACEMENT)
_TABLE = {**_STEERING, **_UNSHOWN, **_REORDERING}


def neutralised(text: str) -> str:
    """The text without anything that moves the cursor, sets a colour or a title, or answers the terminal's queries."""
    return text.replace("\r\n", "\n").translate(_TABLE)


def on_one_line(text: str) -> str:
    return neutralised(re.sub("[\n\r\t]+", " ", text))


def width(text: str) -> int:
    """How many columns a terminal gives it: two for wide characters, none for what joins the one before."""
    return sum(
        0
        if unicodedata.category(char) in {"Mn", "Me", "Cf"}
        else 1 + (unicodedata.east_asian_width(char) in {"W", "F"})
        for char in text
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, left: Collection[str]) -> list[str]:
    """Aligned lines: a head, a rule, the rows. The columns in `left` are texts, the others numbers."""
    cells = [list(columns), *([on_one_line(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = []
        for cell, column, size in zip(row, columns, widths, strict=True):
            space = " " * (size - width(cell))
            padded.append(cell + space if column in left else space + cell)
        lines.append("  ".join(padded).rstrip())
    return [lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]]

"""JSON: checked, and broken into lines where it came in one, so that a part of it can be read.

The text stays as it was but for line ends between its values: to write it anew would change numbers and lose members.
"""

from __future__ import annotations

import json
import re
from typing import BinaryIO

from files.parsing.outcome import ParseFailed, TextOut
from files.parsing.plain import text_of

_LINE_MAX_CHARS = 2_000
# A text, in which nothing is broken, or the places where a line may end.
_PLACES = re.compile(r'"(?:[^"\\]|\\.)*"|[,\[{]', re.DOTALL)


def parse(source: BinaryIO, out: TextOut) -> None:
    """Raises: ParseFailed, TextFull."""
    text = text_of(source)
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ParseFailed("malformed", f"This is not valid JSON: {error.msg} ({where}).") from None
    except RecursionError:
        raise ParseFailed("malformed", "This JSON is nested too deeply.") from None
    except ValueError:
        # Python refuses numbers of more than 4,300 digits.
        raise ParseFailed("malformed", "This JSON has a number that is too long.") from None
    if len(text) <= _LINE_MAX_CHARS * (text.count("\n") + 1):
        out.add(text)
        return
    start = 0
    for place in _PLACES.finditer(text):
        if place[0] in ",[{":
            out.add(text[start : place.end()].lstrip() + "\n")
            start = place.end()
    out.add(text[start:].lstrip())

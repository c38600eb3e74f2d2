"""JSON: checked, and written out line by line where it came in one, so that a part of it can be read."""

from __future__ import annotations

import json
from typing import BinaryIO

from files.parsing.outcome import ParseFailed, TextOut
from files.parsing.plain import text_of

_LINE_MAX_CHARS = 2_000


def parse(source: BinaryIO, out: TextOut) -> None:
    """Raises: ParseFailed, TextFull."""
    text = text_of(source)
    try:
        value = json.loads(text)
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
    for piece in json.JSONEncoder(indent=1, ensure_ascii=False).iterencode(value):
        out.add(piece)

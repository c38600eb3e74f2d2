"""Plain text and Markdown, as they are."""

from __future__ import annotations

from typing import BinaryIO

from files.parsing.decoding import decoded
from files.parsing.outcome import ParseFailed, TextOut

NOT_TEXT = ParseFailed("not_text", "This file is not text from its beginning to its end.")


def parse(source: BinaryIO, out: TextOut) -> None:
    """Raises: ParseFailed, TextFull."""
    out.add(text_of(source))


def text_of(source: BinaryIO) -> str:
    """The whole text, with line ends as `\\n`. Raises: ParseFailed."""
    text = decoded(source.read())
    if text is None:
        raise NOT_TEXT
    return text.replace("\r\n", "\n").replace("\r", "\n")

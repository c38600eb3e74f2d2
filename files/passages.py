"""A text in pieces that a search can find and an agent can read. Together, in order, they are the text."""

from __future__ import annotations

from collections.abc import Iterator

# Some paragraphs. PostgreSQL keeps so much in the row itself, and what it can index of one is far above that.
PASSAGE_MAX_CHARS = 2_000
# A piece may end here or later, where something ends in the text, too.
_LEAST_CHARS = 1_000
_ENDS = ("\n\n", "\n", ". ", " ")


def split(text: str) -> Iterator[tuple[int, str]]:
    """Each piece with the position of its first character."""
    start = 0
    while start < len(text):
        end = _end(text, start)
        yield start, text[start:end]
        start = end


def _end(text: str, start: int) -> int:
    most = start + PASSAGE_MAX_CHARS
    if most >= len(text):
        return len(text)
    for mark in _ENDS:
        found = text.rfind(mark, start + _LEAST_CHARS, most)
        if found >= 0:
            return found + len(mark)
    return most

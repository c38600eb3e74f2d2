"""Texts cut to bytes of UTF-8 on the border of a character."""

from __future__ import annotations


def size_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def beginning(text: str, most_bytes: int) -> str:
    """The longest beginning that has no more bytes."""
    if len(text) * 4 <= most_bytes:
        return text
    return text.encode("utf-8", "surrogatepass")[: max(0, most_bytes)].decode("utf-8", "ignore")


def cut(text: str, most_bytes: int) -> str:
    """The text, or its beginning with a mark that says how much is missing."""
    size = size_of(text)
    if size <= most_bytes:
        return text
    kept = beginning(text, most_bytes - 48)
    return f"{kept}\n[… cut, {size - size_of(kept)} more bytes]"

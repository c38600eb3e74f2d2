"""Text as it may leave the gateway: storable in PostgreSQL, and without our key even where a provider repeats it."""

from __future__ import annotations

from sessions_app.llm.redaction import REDACTED, is_secret, without_key

HIGH_SURROGATES = ("\ud800", "\udbff")


def clean(text: str) -> str:
    """Drop NUL (PostgreSQL text and jsonb refuse it) and mend surrogates: pairs are joined, lone ones become U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def label(text: str, limit: int, key: str) -> str:
    """A short name that a provider gave (a model, a finish reason): clean, on one line, cut, not our key."""
    return without_key(" ".join(clean(text[: 16 * limit]).split()), key)[:limit]


class TextStream:
    """Cleans an answer delta by delta.

    It holds back what only the next delta can decide: the first half of a surrogate pair that JSON escapes tore apart,
    and an ending that may be the beginning of our key. `flush` gives the rest at the end of the answer.
    """

    def __init__(self, key: str) -> None:
        self._key = key if is_secret(key) else ""
        self._held = ""

    @property
    def held_chars(self) -> int:
        return len(self._held)

    def feed(self, delta: str) -> str:
        text = self._held + delta
        self._held = ""
        if text and HIGH_SURROGATES[0] <= text[-1] <= HIGH_SURROGATES[1]:
            text, self._held = text[:-1], text[-1]
        text = clean(text)
        if self._key:
            text = without_key(text, self._key)
            start = _beginning_of(self._key, text)
            text, self._held = text[:start], text[start:] + self._held
        return text

    def flush(self) -> str:
        text, self._held = clean(self._held), ""
        return REDACTED if is_secret(text) else text


def _beginning_of(key: str, text: str) -> int:
    """Where the longest ending of `text` starts that is a beginning of `key`; the length of `text` where none is."""
    start = text.find(key[0], max(0, len(text) - len(key) + 1))
    while start >= 0:
        if key.startswith(text[start:]):
            return start
        start = text.find(key[0], start + 1)
    return len(text)

"""Keys never leave the gateway, not even in a provider's own words.

Providers do repeat keys: "Incorrect API key provided: sk-abc...". So what they say passes here before it becomes part
of a result, an error or a log line.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"
# A shorter key (`local`, `test`) is no secret, and hunting it in answers would eat ordinary words.
SECRET_MIN_CHARS = 12
EXCERPT_MAX_CHARS = 200
_LOOKS_LIKE_KEY = re.compile(r"(?i)\bbearer\s+\S+|\b(?:sk|pk|rk|gsk|key)-[\w*.\-]{4,}")


def is_secret(key: str) -> bool:
    return len(key) >= SECRET_MIN_CHARS


def without_key(text: str, key: str) -> str:
    """For names and numbers that a provider gives: only the key itself is taken out, the rest is kept word for word."""
    return text.replace(key, REDACTED) if is_secret(key) else text


def redact(text: str, key: str) -> str:
    """Take out the key, words that begin like it (providers mask the rest with dots), and what looks like any key."""
    if is_secret(key):
        text = text.replace(key, REDACTED)
        text = re.sub(re.escape(key[:8]) + r"\S*", REDACTED, text)
    elif key:
        text = re.sub(rf"(?<![\w-]){re.escape(key)}(?![\w-])", REDACTED, text)
    return _LOOKS_LIKE_KEY.sub(REDACTED, text)


def excerpt(text: str, key: str) -> str:
    """A provider's error message as part of a sentence of ours: redacted first, so that no cut leaves half a key."""
    bounded = text[: 20 * EXCERPT_MAX_CHARS].encode("utf-8", "replace").decode("utf-8")
    printable = "".join(char if char.isprintable() else " " for char in bounded)
    line = " ".join(redact(printable, key).split())
    return line if len(line) <= EXCERPT_MAX_CHARS else line[: EXCERPT_MAX_CHARS - 1].rstrip() + "…"

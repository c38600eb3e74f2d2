"""Names of files as people may see them: no folders, nothing invisible, short enough."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

NAME_MAX_LENGTH = 200
SUFFIX_MAX_LENGTH = 20
UNNAMED = "file"


def clean_name(raw: str) -> str:
    """Never empty, `.` or `..`. Cut in the middle, so that the suffix stays.

    Controls and format characters go, NUL and those that turn the direction of text among them: with one of these
    `exe.txt` is shown as what it is not.
    """
    last = unicodedata.normalize("NFC", raw).replace("\\", "/").rsplit("/", 1)[-1]
    visible = "".join(" " if char.isspace() else char for char in last if char.isspace() or _is_visible(char))
    name = " ".join(visible.split()).rstrip(". ")
    if len(name) > NAME_MAX_LENGTH:
        suffix = PurePosixPath(name).suffix[:SUFFIX_MAX_LENGTH]
        name = name[: NAME_MAX_LENGTH - len(suffix)].rstrip(". ") + suffix
    return name or UNNAMED


def _is_visible(char: str) -> bool:
    return not unicodedata.category(char).startswith("C")

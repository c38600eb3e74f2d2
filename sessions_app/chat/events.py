"""Server-sent events from bytes, cut anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sessions_app.chat.problems import Unreachable

ENDINGS = frozenset({"done", "error"})


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    name: str
    data: dict[str, Any]


def read_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Whole events only: one whose blank line never came is read again on the next connection.

    Lines end at a line feed only: text functions would also split at characters that may stand inside the JSON.
    Raises: Unreachable, where something on the way has damaged them.
    """
    fields: dict[str, str] = {}
    try:
        for line in _lines(chunks):
            if not line:
                if "data" in fields:
                    yield Event(int(fields.get("id", 0)), fields.get("event", "message"), json.loads(fields["data"]))
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
    except ValueError:
        raise Unreachable("The stream was garbled.") from None


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    pending = bytearray()
    for chunk in chunks:
        start = len(pending)
        pending += chunk
        if pending.find(b"\n", start) < 0:
            continue
        *complete, rest = pending.split(b"\n")
        pending = rest
        for line in complete:
            yield line.removesuffix(b"\r").decode()

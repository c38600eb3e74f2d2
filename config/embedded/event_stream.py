"""Reading server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    id: int
    name: str
    data: dict[str, Any]


def read_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events of a byte stream, however it was cut.

    Lines end at a line feed only: text functions would also split at characters that may stand inside the JSON.
    """
    fields: dict[str, str] = {}
    for line in _lines(chunks):
        if not line:
            if "data" in fields:
                yield Event(int(fields.get("id", 0)), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    pending = b""
    for chunk in chunks:
        *complete, pending = (pending + chunk).split(b"\n")
        for line in complete:
            yield line.removesuffix(b"\r").decode()

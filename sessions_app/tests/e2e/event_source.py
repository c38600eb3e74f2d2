"""An event source as browsers have it, by the rules of the HTML standard (WHATWG, "Server-sent events").

Nothing here knows our server: what it reads, every browser and every client library reads.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat

import httpx

LINE_END = re.compile("\r\n|\n|\r")
ALL = 1 << 62


@dataclass(frozen=True)
class Message:
    last_event_id: str
    type: str
    data: str


class Interpreter:
    """One connection's bytes as messages. An event that the connection's end cut off is discarded."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._id = last_event_id
        self._type = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Message]:
        text = self._rest + self._decoder.decode(data)
        # A CR at the end may be the first half of a CR LF.
        cut = len(text) - 1 if text.endswith("\r") else len(text)
        *lines, rest = LINE_END.split(text[:cut])
        self._rest = rest + text[cut:]
        for line in lines:
            yield from self._take(line)

    def _take(self, line: str) -> Iterator[Message]:
        if not line:
            yield from self._dispatch()
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._type = value
        elif field == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> Iterator[Message]:
        self.last_event_id = self._id
        if self._data:
            yield Message(self._id, self._type or "message", "\n".join(self._data))
        self._type, self._data = "", []


def event_source(client: httpx.Client, url: str, *, cuts_bytes: tuple[int, ...] = ()) -> Iterator[Message]:
    """All messages of a URL. It connects again whenever the connection ends, until the server answers 204.

    The first connections break after as many bytes as `cuts_bytes` says, in the middle of whatever comes then.
    """
    last_event_id = ""
    for most_bytes in chain(cuts_bytes, repeat(ALL)):
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        with client.stream("GET", url, headers=headers) as answer:
            if answer.status_code == 204:
                return
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
            interpreter = Interpreter(last_event_id)
            left = most_bytes
            for piece in answer.iter_raw():
                yield from interpreter.feed(piece[:left])
                left -= len(piece)
                if left <= 0:
                    break
            last_event_id = interpreter.last_event_id

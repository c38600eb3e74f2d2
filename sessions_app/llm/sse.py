"""Server-sent events from bytes, cut anywhere.

Lines are split by hand, at CR LF, LF and CR: `httpx.aiter_lines` also splits at U+2028, U+0085 and others, which JSON
may contain raw, and so tears frames in two. Only whole lines are decoded, so a character is never split either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# No frame of a sane provider comes near; a line that never ends must not eat the memory.
EVENT_MAX_BYTES = 1_048_576


class EventTooLargeError(Exception):
    """The provider sent a line or an event without end."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    name: str
    data: str


class EventParser:
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._is_first_line = True
        self._ended_in_cr = False
        self._name = ""
        self._data: list[str] = []
        self._data_size_bytes = 0

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        for line in self._complete_lines(data):
            event = self._take(line)
            if event is not None:
                yield event

    def close(self) -> Iterator[ServerEvent]:
        """The end of the body: a last event counts even when its blank line, or its line's end, never came."""
        for line in (bytes(self._buffer), b""):
            event = self._take(line)
            if event is not None:
                yield event
        self._buffer.clear()

    def _complete_lines(self, data: bytes) -> list[bytes]:
        self._buffer += self._with_plain_line_ends(data)
        lines = []
        start = 0
        # `_scanned` bytes are known to hold no line end: a long line in small pieces is not searched again and again.
        while (end := self._buffer.find(b"\n", max(start, self._scanned))) >= 0:
            lines.append(bytes(self._buffer[start:end]))
            start = end + 1
        del self._buffer[:start]
        self._scanned = len(self._buffer)
        if self._scanned > EVENT_MAX_BYTES:
            raise EventTooLargeError
        return lines

    def _with_plain_line_ends(self, data: bytes) -> bytes:
        """Each line end as LF. A CR ends its line at once: whether an LF follows is seen with the next piece."""
        if self._ended_in_cr and data:
            data = data.removeprefix(b"\n")
            self._ended_in_cr = False
        if b"\r" not in data:
            return data
        self._ended_in_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, line: bytes) -> ServerEvent | None:
        if self._is_first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._is_first_line = False
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data_size_bytes += len(value) + 1
            if self._data_size_bytes > EVENT_MAX_BYTES:
                raise EventTooLargeError
            self._data.append(value.decode("utf-8", "replace"))
        elif field == b"event":
            self._name = value[:64].decode("utf-8", "replace")
        # A comment has an empty field name; `id` and `retry` mean nothing to us.
        return None

    def _dispatch(self) -> ServerEvent | None:
        event = ServerEvent(self._name, "\n".join(self._data)) if self._data else None
        self._name = ""
        self._data = []
        self._data_size_bytes = 0
        return event

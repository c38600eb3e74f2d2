"""From the bytes of a 200 answer to frames, whether the provider streams or sends one JSON body."""

from __future__ import annotations

from collections.abc import Iterator

from sessions_app.llm.frames import (
    Frame,
    MalformedFrameError,
    message_of,
    parse_object,
    read_frame,
)
from sessions_app.llm.sse import EventParser, ServerEvent

JSON_BODY_MAX_BYTES = 4 * 1_048_576
# A stream of empty frames would never reach the limit on text.
STREAM_MAX_BYTES = 64 * 1_048_576
_DONE = "[DONE]"
_BLANK_OR_BOM = b"\xef\xbb\xbf \t\r\n"


class BodyTooLargeError(Exception):
    """More bytes than any answer within its token limit needs."""


class BodyDecoder:
    """Feed it bytes, iterate over frames.

    The first byte decides: no event stream starts with `{` and every JSON object does. Content types are not asked,
    because servers answer a streaming request with either body under either type.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self.is_done = False
        self._events = EventParser()
        self._json: bytearray | None = None
        self._has_started = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        self.size_bytes += len(data)
        if self.size_bytes > (STREAM_MAX_BYTES if self._json is None else JSON_BODY_MAX_BYTES):
            raise BodyTooLargeError
        if not self._has_started:
            data = data.lstrip(_BLANK_OR_BOM)
            if not data:
                return
            self._has_started = True
            self._json = bytearray() if data.startswith(b"{") else None
        if self._json is not None:
            self._json += data
            return
        yield from self._frames(self._events.feed(data))

    def close(self) -> Iterator[Frame]:
        """The body has ended. A last event that is no JSON was cut in the middle, which the caller sees by itself."""
        if self._json is not None:
            yield read_frame(parse_object(self._json.decode("utf-8", "replace")))
            return
        try:
            yield from self._frames(self._events.close())
        except MalformedFrameError:
            return

    def _frames(self, events: Iterator[ServerEvent]) -> Iterator[Frame]:
        for event in events:
            data = event.data.strip()
            if self.is_done or not data:
                continue
            if data == _DONE:
                self.is_done = True
            elif event.name == "error":
                yield Frame(error=_error_text(data))
            else:
                yield read_frame(parse_object(data))


def _error_text(data: str) -> str:
    """An `event: error` carries JSON at most providers and a bare sentence at some."""
    try:
        return message_of(parse_object(data))
    except MalformedFrameError:
        return data

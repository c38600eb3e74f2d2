from __future__ import annotations

import pytest

from config.embedded.event_stream import Event, read_events

STREAM = (
    'id: 1\nevent: chunk\ndata: {"delta": "a\u2028b\x85c é"}\n\n'  # line ends to others, text to JSON
    ": still here\n\n"
    "id: 2\nevent: done\ndata: {}\n\n"
).encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_the_same_however_the_bytes_were_cut(size: int) -> None:
    chunks = (STREAM[start : start + size] for start in range(0, len(STREAM), size))
    assert list(read_events(chunks)) == [
        Event(1, "chunk", {"delta": "a\u2028b\x85c é"}),
        Event(2, "done", {}),
    ]


def test_an_event_that_was_cut_off_is_not_delivered() -> None:
    assert list(read_events([b'id: 1\nevent: done\ndata: {"a": 1}\n'])) == []


def test_carriage_returns_and_several_data_lines_are_understood() -> None:
    assert list(read_events([b'data: {"a":\r\ndata: 1}\r\n\r\n'])) == [Event(0, "message", {"a": 1})]

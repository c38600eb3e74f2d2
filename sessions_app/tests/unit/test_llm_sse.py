from __future__ import annotations

import pytest

from sessions_app.llm.sse import (
    EVENT_MAX_BYTES,
    EventParser,
    EventTooLargeError,
    ServerEvent,
)

STREAM = (
    "data: héllo 日本 😀\r\n\r\n: comment\n\nevent: error\ndata: one\ndata:two\n\ndata: \u2028\u0085\u2029\n\n".encode()
)
EVENTS = [ServerEvent("", "héllo 日本 😀"), ServerEvent("error", "one\ntwo"), ServerEvent("", "\u2028\u0085\u2029")]


def parse(*pieces: bytes) -> list[ServerEvent]:
    parser = EventParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + list(parser.close())


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_stream_reads_the_same_wherever_it_is_split(at: int) -> None:
    assert parse(STREAM[:at], STREAM[at:]) == EVENTS


def test_a_stream_reads_the_same_byte_by_byte() -> None:
    assert parse(*(bytes([byte]) for byte in STREAM)) == EVENTS


def test_line_separators_that_are_no_line_ends_stay_in_the_data() -> None:
    assert parse("data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode()) == [
        ServerEvent("", "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg")
    ]


@pytest.mark.parametrize("at", range(40))
def test_each_of_the_three_line_ends_is_one_wherever_the_stream_is_split(at: int) -> None:
    stream = b": hello\r\rdata: a\rdata: b\r\n\r\ndata: c\n\r\n"
    assert parse(stream[:at], b"", stream[at:]) == [ServerEvent("", "a\nb"), ServerEvent("", "c")]
    assert list(EventParser().feed(b"data: at once\r\r")) == [ServerEvent("", "at once")]


@pytest.mark.parametrize("at", range(6))
def test_a_byte_order_mark_is_no_part_of_the_first_line(at: int) -> None:
    stream = "\ufeffdata: a\n\ndata: \ufeffb\n\n".encode()
    assert parse(stream[:at], stream[at:]) == [ServerEvent("", "a"), ServerEvent("", "\ufeffb")]


def test_only_one_space_after_the_colon_is_dropped() -> None:
    assert parse(b"data:  two\n\ndata:none\n\n") == [ServerEvent("", " two"), ServerEvent("", "none")]


def test_comments_ids_retries_and_unknown_fields_say_nothing() -> None:
    assert parse(b": ping\nid: 7\nretry: 10\nfoo: bar\nnocolon\n\n: ping\n\n") == []


def test_an_event_name_lasts_for_one_event() -> None:
    assert parse(b"event: error\ndata: a\n\ndata: b\n\n") == [ServerEvent("error", "a"), ServerEvent("", "b")]


def test_a_last_event_without_blank_line_counts() -> None:
    assert parse(b"data: a\n") == [ServerEvent("", "a")]
    assert parse(b"data: a") == [ServerEvent("", "a")]


def test_broken_utf8_is_replaced() -> None:
    assert parse(b"data: a\xff\xe6\n\n") == [ServerEvent("", "a\ufffd\ufffd")]


def test_a_line_without_end_is_refused_at_the_limit() -> None:
    parser = EventParser()
    with pytest.raises(EventTooLargeError):
        for _ in range(EVENT_MAX_BYTES // 65_536 + 1):
            list(parser.feed(b"x" * 65_536))


def test_an_event_of_endlessly_many_lines_is_refused_at_the_limit() -> None:
    parser = EventParser()
    with pytest.raises(EventTooLargeError):
        for _ in range(EVENT_MAX_BYTES // 1_000 + 1):
            list(parser.feed(b"data: " + b"x" * 1_000 + b"\n"))

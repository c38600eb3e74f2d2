from __future__ import annotations

from typing import Any

import pytest

from sessions_app.llm.decoding import (
    JSON_BODY_MAX_BYTES,
    STREAM_MAX_BYTES,
    BodyDecoder,
    BodyTooLargeError,
)
from sessions_app.llm.frames import (
    Frame,
    MalformedFrameError,
    message_of,
    parse_object,
    read_frame,
)


def delta(value: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": value, "finish_reason": None}]}


def decode(*pieces: bytes) -> list[Frame]:
    decoder = BodyDecoder()
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    return frames + list(decoder.close())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        (None, ""),
        ("", ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "thinking", "text": "no"}, {"type": "output_text", "text": "yes"}, {"text": "!"}], "yes!"),
        (["a", {"type": "text", "text": None}, 7, None], "a"),
        (7, ""),
        ({"text": "x"}, ""),
    ],
)
def test_content_may_be_text_null_or_parts(content: Any, text: str) -> None:
    assert read_frame(delta({"content": content})) == Frame(text=text)


@pytest.mark.parametrize("value", [{}, None, [], "x", {"role": "assistant"}, {"reasoning_content": "think"}])
def test_a_delta_without_content_is_no_text(value: Any) -> None:
    assert read_frame(delta(value)) == Frame()


@pytest.mark.parametrize("choices", [None, [], {}, "x", [None], [7], [[]]])
def test_choices_of_any_shape_do_no_harm(choices: Any) -> None:
    assert read_frame({"choices": choices}) == Frame()


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls"])
def test_a_finish_reason_is_read(reason: str) -> None:
    assert read_frame({"choices": [{"delta": {}, "finish_reason": reason}]}) == Frame(finish_reason=reason)


@pytest.mark.parametrize("reason", [None, "", 7, ["stop"]])
def test_what_is_no_finish_reason_does_not_end_an_answer(reason: Any) -> None:
    assert read_frame({"choices": [{"delta": {}, "finish_reason": reason}]}) == Frame()


def test_finish_reason_error_is_an_error() -> None:
    assert read_frame({"choices": [{"delta": {}, "finish_reason": "error"}]}).error == ""


def test_usage_and_model_are_read() -> None:
    body = {"choices": [], "model": "m", "usage": {"prompt_tokens": 0}}
    assert read_frame(body) == Frame(model="m", usage={"prompt_tokens": 0})


@pytest.mark.parametrize("usage", [None, {}, [], "x", 7])
def test_usage_that_counts_nothing_is_absent(usage: Any) -> None:
    assert read_frame({"usage": usage}) == Frame()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "overloaded", "code": 529}}, "overloaded"),
        ({"error": "plain"}, "plain"),
        ({"error": {"code": 7}}, ""),
        ({"error": {"error": {"message": "nested"}}}, "nested"),
        ({"object": "error", "message": "old shape"}, "old shape"),
        ({"error": {"message": "x"}, "choices": [{"delta": {"content": "not an answer"}}]}, "x"),
    ],
)
def test_an_error_object_has_a_message_and_no_text(body: dict[str, Any], message: str) -> None:
    assert read_frame(body) == Frame(error=message)


@pytest.mark.parametrize("error", [None, {}, "", False])
def test_an_empty_error_member_is_no_error(error: Any) -> None:
    assert read_frame({"error": error, **delta({"content": "hi"})}) == Frame(text="hi")


def test_a_message_of_other_shapes_is_empty() -> None:
    assert [message_of(error) for error in (None, 7, [], {"message": 7}, True)] == [""] * 5


@pytest.mark.parametrize(
    "payload", ["", "x", "[]", "7", '"a"', "null", "{", '{"a": ' + "9" * 5_000 + "}", "[" * 99_999]
)
def test_what_is_no_json_object_is_malformed(payload: str) -> None:
    with pytest.raises(MalformedFrameError):
        parse_object(payload)


JSON_BODY = b' \r\n\xef\xbb\xbf{"choices":[{"message":{"content":"h\xc3\xa9"},"finish_reason":"stop"}]}'


@pytest.mark.parametrize("at", range(len(JSON_BODY)))
def test_a_json_body_is_one_frame_wherever_it_is_split(at: int) -> None:
    assert decode(JSON_BODY[:at], JSON_BODY[at:]) == [Frame(text="hé", finish_reason="stop")]


def test_a_byte_order_mark_before_a_stream_is_skipped() -> None:
    assert decode(b'\xef\xbb\xbfdata: {"model": "m"}\n\n') == [Frame(model="m")]


def test_nothing_counts_after_done() -> None:
    assert decode(b'data: {"model": "m"}\n\ndata: [DONE]\n\ndata: {"model": "n"}\n\ndata: junk\n\n') == [
        Frame(model="m")
    ]


def test_an_event_named_error_is_an_error_as_json_and_as_a_sentence() -> None:
    assert decode(b'event: error\ndata: {"message": "a"}\n\n') == [Frame(error="a")]
    assert decode(b'event: error\ndata: {"error": {"message": "b"}}\n\n') == [Frame(error="b")]
    assert decode(b"event: error\ndata: c\n\n") == [Frame(error="c")]


def test_a_frame_that_is_no_json_is_malformed_in_the_middle_and_cut_at_the_end() -> None:
    with pytest.raises(MalformedFrameError):
        decode(b"data: junk\n\ndata: {}\n\n")
    assert decode(b'data: {"model": "m"}\n\ndata: {"mod') == [Frame(model="m")]


def test_a_body_beyond_its_limit_is_refused() -> None:
    with pytest.raises(BodyTooLargeError):
        decode(b"{", *[b" " * 65_536] * (JSON_BODY_MAX_BYTES // 65_536 + 1))
    with pytest.raises(BodyTooLargeError):
        decode(*[b": " + b"x" * 524_285 + b"\n"] * (STREAM_MAX_BYTES // 524_288 + 1))

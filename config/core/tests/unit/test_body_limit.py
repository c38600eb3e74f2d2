from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from config.core.body_limit import BodyLimit

LIMIT = 1_000_000


class Reader:
    """An application that reads the whole body and answers with its length."""

    def __init__(self) -> None:
        self.messages_read = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            self.messages_read += 1
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(size).encode()})


def ask(
    chunks: list[bytes], *, kind: str = "http", path: str = "/api/v1/rooms", **headers: str
) -> tuple[list[Any], Reader]:
    reader, sent = Reader(), []
    messages = iter(
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks) - 1}
        for number, chunk in enumerate(chunks)
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(BodyLimit(reader)({"type": kind, "method": "POST", "path": path, "headers": raw}, receive, send))
    return sent, reader


def assert_refused(sent: list[Any]) -> None:
    start, body = sent
    headers = dict(start["headers"])
    assert start["status"] == 413
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"content-length"]) == len(body["body"])
    document = json.loads(body["body"])
    assert (document["status"], document["code"]) == (413, "request_too_large")


def test_a_body_of_exactly_the_limit_passes() -> None:
    sent, _ = ask([b"x" * 600_000, b"x" * 400_000], content_length=str(LIMIT))
    assert sent[1]["body"] == str(LIMIT).encode()


@pytest.mark.parametrize("declared", [str(LIMIT + 1), "9" * 30, "-1", "1e3", "x", ""])
def test_a_declared_length_above_it_is_refused_unread(declared: str) -> None:
    sent, reader = ask([b""], content_length=declared)
    assert_refused(sent)
    assert reader.messages_read == 0


@pytest.mark.parametrize("headers", [{}, {"content_length": "5"}])
def test_a_body_that_grows_past_the_limit_is_refused_there(headers: dict[str, str]) -> None:
    sent, reader = ask([b"x" * 400_000] * 10, **headers)
    assert_refused(sent)
    assert reader.messages_read == 2


def test_the_refusal_carries_the_request_s_id() -> None:
    sent, _ = ask([b""], content_length="2000000", x_request_id="from-the-client")
    assert dict(sent[0]["headers"])[b"x-request-id"] == b"from-the-client"
    sent, _ = ask([b""], content_length="2000000", x_request_id="ill formed")
    assert dict(sent[0]["headers"])[b"x-request-id"] != b"ill formed"


def test_uploads_have_their_own_limit_and_other_protocols_none() -> None:
    upload = {"path": "/api/v1/rooms/1/files", "authorization": "Bearer t"}
    sent, _ = ask([b"x" * (LIMIT + 1)], content_type="multipart/form-data; boundary=b", **upload)
    assert sent[0]["status"] == 200
    sent, _ = ask([b"x" * (LIMIT + 1)], kind="websocket")
    assert sent[0]["status"] == 200

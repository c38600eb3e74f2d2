from __future__ import annotations

import httpx
import pytest

from config.embedded.api_client import ApiClient, refusal
from config.embedded.errors import EmbeddedError
from config.embedded.ports import LOOPBACK, free_port

REQUEST = httpx.Request("POST", "http://127.0.0.1/api/v1/rooms")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            httpx.Response(402, json={"code": "insufficient_credits", "detail": "Too little."}, request=REQUEST),
            "POST /api/v1/rooms answered 402: insufficient_credits: Too little.",
        ),
        (
            httpx.Response(422, json={"code": "x", "detail": "d", "errors": [{"field": "name"}]}, request=REQUEST),
            "POST /api/v1/rooms answered 422: x: d [{'field': 'name'}]",
        ),
        (
            httpx.Response(502, text="<h1>Bad gateway</h1>", request=REQUEST),
            "POST /api/v1/rooms answered 502: <h1>Bad gateway</h1>",
        ),
        (httpx.Response(500, json=["odd"], request=REQUEST), 'POST /api/v1/rooms answered 500: ["odd"]'),
    ],
)
def test_a_refusal_says_what_was_asked_and_why_it_was_refused(answer: httpx.Response, message: str) -> None:
    assert str(refusal(answer)) == message


def test_a_server_that_is_gone_is_an_error_in_one_line() -> None:
    with ApiClient(f"http://{LOOPBACK}:{free_port()}") as client:
        with pytest.raises(EmbeddedError, match="the web process did not answer"):
            client.get("/health")
        with pytest.raises(EmbeddedError, match="the web process did not answer"):
            list(client.stream("/sessions/x/turns/stream", {}))

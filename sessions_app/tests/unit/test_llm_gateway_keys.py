"""A key is sent to its provider and shows up nowhere else, whatever the provider does with it."""

from __future__ import annotations

import logging

import pytest

from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.unit.llm_calls import CANARY_KEY, ask, ask_at, make_settings

SECRET_PART = "canary"
MASKED = f"Incorrect API key provided: {CANARY_KEY[:12]}****. Header: Bearer {CANARY_KEY}"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=400, error={"message": MASKED}),
        Reply(status=401, error={"message": MASKED}),
        Reply(status=403, error=MASKED),
        Reply(status=500, error={"message": CANARY_KEY}),
        Reply(status=302, headers={"Location": f"http://evil.example/?key={CANARY_KEY}"}),
        Reply(status=500, raw=CANARY_KEY.encode()),
        Reply(fault="error_frame", error={"message": MASKED}, fault_after=1),
        Reply(fault="error_event", error=MASKED),
        Reply(chunks=("your key is ", CANARY_KEY, "!")),
        Reply(chunks=tuple(f"<{CANARY_KEY}>")),
        Reply(chunks=(CANARY_KEY[:-1],)),
        Reply(as_json=True, chunks=(CANARY_KEY,)),
        Reply(model=CANARY_KEY, finish_reason=CANARY_KEY),
        Reply(usage={"prompt_tokens": 1, "completion_tokens": 1, CANARY_KEY: {"note": [f"x{CANARY_KEY}x"]}}),
        Reply(headers={"X-Echo": CANARY_KEY, "Set-Cookie": f"k={CANARY_KEY}"}),
        Reply(fault="drop"),
        Reply(fault="reset", fault_after=2),
    ],
    ids=lambda reply: reply.fault or reply.status,
)
def test_an_echoed_key_is_in_no_result_and_in_no_log(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    result = ask(reply)
    assert SECRET_PART not in repr(result)
    assert SECRET_PART not in caplog.text


def test_an_echoed_key_leaves_the_rest_of_the_answer_whole() -> None:
    assert ask(Reply(chunks=("your key is ", CANARY_KEY[:5], CANARY_KEY[5:], "!"))).text == "your key is [redacted]!"


def test_a_refused_key_is_said_without_the_providers_words() -> None:
    failure = ask(Reply(status=401, error={"message": MASKED})).failure
    assert failure is not None
    assert failure.detail == "The model provider refused our credentials (HTTP 401)."


def test_settings_show_no_key() -> None:
    assert SECRET_PART not in repr(make_settings("http://127.0.0.1:1/v1"))


def test_http_libraries_log_neither_headers_nor_urls_even_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedProvider() as provider:
        ask_at(provider.base_url)
        port = str(provider.port)
    assert [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))] == []
    assert port not in caplog.text

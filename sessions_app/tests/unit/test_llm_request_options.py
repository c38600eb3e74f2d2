"""What one request may ask for beyond its messages: a schema for the answer, and tighter limits."""

from __future__ import annotations

import pytest

from pricing.rating import TokenPools
from sessions_app.llm.estimate import estimate_input, input_bound
from sessions_app.llm.types import Message, ResponseSchema
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.unit.llm_calls import MESSAGES, ask, ask_at, make_request

SCHEMA = ResponseSchema("choice", {"type": "object", "properties": {"a": {"enum": ["é", "b"]}}})


def test_a_schema_is_sent_as_a_strict_json_schema() -> None:
    with ScriptedProvider() as provider:
        ask_at(provider.base_url, request=make_request(response_schema=SCHEMA))
        assert provider.journal[0].body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "choice", "strict": True, "schema": SCHEMA.schema},
        }


def test_names_in_a_schema_are_fit_to_be_sent() -> None:
    schema = ResponseSchema("choice", {"enum": ["a\ud800b", "😀\u2028"]})
    with ScriptedProvider() as provider:
        result = ask_at(provider.base_url, request=make_request(response_schema=schema))
        sent = provider.journal[0].body["response_format"]["json_schema"]["schema"]
    assert (result.status, sent) == ("success", {"enum": ["a\ufffdb", "😀\u2028"]})


def test_the_bytes_of_a_schema_count_as_input() -> None:
    size_bytes = len('{"type": "object", "properties": {"a": {"enum": ["é", "b"]}}}'.encode())
    assert size_bytes == 62
    assert estimate_input(MESSAGES, schema=SCHEMA) == -(-(19 + 62) // 4) + 2 * 4
    assert input_bound(MESSAGES, schema=SCHEMA) == (19 + 62) // 3 + 2 * 8
    assert input_bound([], schema=SCHEMA) == 21
    assert input_bound([Message("user", "a")], schema=None) == 1 + 8


def test_where_nobody_counts_a_schema_is_estimated_too() -> None:
    result = ask(Reply(chunks=("1234",), usage=None), request=make_request(response_schema=SCHEMA))
    assert result.pools == TokenPools(input_fresh=29, output=1)


@pytest.mark.parametrize(("wanted", "attempts"), [(None, 3), (0, 1), (1, 2), (9, 3), (-1, 1)])
def test_a_request_may_want_fewer_retries_and_never_gets_more(wanted: int | None, attempts: int) -> None:
    assert ask(Reply(status=503), request=make_request(retries=wanted), max_retries=2).attempts == attempts


def test_a_request_may_want_an_answer_sooner() -> None:
    result = ask(Reply(first_delay_s=30), request=make_request(total_timeout_s=0.2), total_timeout_s=10)
    assert (result.status, result.latency_ms < 3_000) == ("timeout", True)


@pytest.mark.parametrize("wanted", [30.0, float("inf")])
def test_a_request_gets_no_more_time_than_there_is(wanted: float) -> None:
    result = ask(Reply(first_delay_s=30), request=make_request(total_timeout_s=wanted), total_timeout_s=0.2)
    assert (result.status, result.latency_ms < 3_000) == ("timeout", True)


@pytest.mark.parametrize("wanted", [0.0, -1.0])
def test_a_request_without_time_is_a_timeout(wanted: float) -> None:
    result = ask(Reply(), request=make_request(total_timeout_s=wanted))
    assert (result.status, result.pools) == ("timeout", TokenPools())

"""The real tokenizer of the bundled model, and what its chat template adds to the counts of the texts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sessions_app.llm import tokenizing
from sessions_app.llm.estimate import BOUND_TOKENS_PER_MESSAGE, input_bound
from sessions_app.llm.tokenizing import count_tokens, count_tokens_blocking
from sessions_app.llm.types import ChatResult, Message, ResponseSchema
from sessions_app.tests.unit.llm_calls import Outcome, call, in_loop, make_request, make_settings

MODEL = "smollm2-135m"
SYSTEM = Message("system", "You are a helpful assistant.")
CONVERSATIONS = {
    "one question": (SYSTEM, Message("user", "Say hello in five words.")),
    "nothing said": (Message("system", ""), Message("user", "")),
    "a long talk": (SYSTEM, *(Message(role, f"Turn {n}. ") for n in range(12) for role in ("user", "assistant"))),
    "other scripts": (SYSTEM, Message("user", "日本語のテキスト, ελληνικά, русский, עברית, 😀🏳️‍🌈 e\u0301")),  # noqa: RUF001
    "code and blanks": (SYSTEM, Message("user", "    if x:\n\n\n\t\treturn {'a': [1, 2]}    \n" * 8)),
    "the template's own words": (SYSTEM, Message("user", "<|im_start|>system\nhi<|im_end|><|endoftext|>" * 5)),
    "hardly compressible": (SYSTEM, Message("user", "q8#Zx!~7vK@pW^ " * 20)),
}


@pytest.fixture(autouse=True)
def _fresh_memory() -> Iterator[None]:
    tokenizing.forget()
    yield
    tokenizing.forget()


def bundled(**changes: object) -> object:
    base_url, key = os.environ["TEST_LLM_BASE_URL"], os.environ["TEST_LLM_API_KEY"]
    return make_settings(base_url, key=key, read_timeout_s=60.0, total_timeout_s=120.0, **changes)


def asked(messages: tuple[Message, ...], **changes: object) -> tuple[list[int], ChatResult]:
    """The exact counts of the texts, and what the model itself counted when it was asked."""
    config, outcome = bundled(), Outcome()
    texts = [message.content for message in messages]
    request = make_request(model=MODEL, messages=messages, **{"max_output_tokens": 1, **changes})

    async def both() -> list[int] | None:
        await call(config, outcome, request)
        return await count_tokens(provider="default", model=MODEL, texts=texts, config=config)

    counts = in_loop(both)
    assert counts is not None
    return counts, outcome.result


def test_the_tokenizer_is_found_and_counts_exactly() -> None:
    texts = ["Hello world", "", "a", "Hello world"]
    assert in_loop(
        lambda: count_tokens(provider="default", model=MODEL, texts=texts, config=bundled())
    ) == [2, 0, 1, 2]  # fmt: skip
    assert count_tokens_blocking(provider="default", model=MODEL, texts=["Hello there world"], config=bundled()) == [3]


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_the_counts_and_the_frames_of_the_messages_are_never_less_than_what_is_billed(
    messages: tuple[Message, ...],
) -> None:
    counts, result = asked(messages)
    prompt_tokens = result.pools.input_fresh + result.pools.input_cached
    assert result.usage_source == "provider"
    assert sum(counts) <= prompt_tokens <= sum(counts) + BOUND_TOKENS_PER_MESSAGE * len(messages)


def test_an_answer_follows_its_schema_and_the_input_stays_within_the_bound() -> None:
    properties = {"agent": {"type": "string", "enum": ["ann", "ben"]}}
    fields = {"properties": properties, "required": ["agent"], "additionalProperties": False}
    schema = ResponseSchema("choice", {"type": "object", **fields})
    messages = (SYSTEM, Message("user", "Who should answer?"))
    _, result = asked(messages, response_schema=schema, max_output_tokens=32)
    assert result.text.replace(" ", "").replace("\n", "") in {'{"agent":"ann"}', '{"agent":"ben"}'}
    assert result.pools.total - result.pools.output <= input_bound(messages, schema=schema)

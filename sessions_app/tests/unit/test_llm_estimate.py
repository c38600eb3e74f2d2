from __future__ import annotations

import pytest

from sessions_app.llm.estimate import estimate_input, estimate_output, input_bound
from sessions_app.llm.types import Message


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é", 1), ("日本", 2), ("😀😀", 2)]
)
def test_output_is_a_token_for_each_four_bytes_rounded_up(text: str, tokens: int) -> None:
    assert estimate_output(text) == tokens


def test_input_sums_bytes_before_rounding_and_adds_four_a_message() -> None:
    messages = [Message("system", "a"), Message("user", "b"), Message("user", "ccc")]
    assert estimate_input(messages) == 2 + 3 * 4


def test_no_messages_are_no_tokens() -> None:
    assert estimate_input([]) == 0
    assert input_bound([]) == 0


def test_the_bound_is_a_token_for_each_three_bytes_rounded_up_and_eight_a_message() -> None:
    messages = [Message("system", "日本"), Message("user", "a")]
    assert input_bound(messages) == 3 + 2 * 8


@pytest.mark.parametrize("content", ["", "a", "hello world", "é" * 1000, "😀" * 333])
def test_the_bound_is_never_below_the_estimate(content: str) -> None:
    messages = [Message("user", content)]
    assert input_bound(messages) >= estimate_input(messages)


def test_a_lone_surrogate_is_measured_instead_of_raising() -> None:
    assert estimate_output("\ud800") == 1

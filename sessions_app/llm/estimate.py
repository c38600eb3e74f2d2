"""How many tokens a text has, when nobody counted them.

Two rules for two questions. The estimate is our best guess and is billed where a provider reports no usage. The bound
is what a call can cost at most; holds are placed with it, and it is part of the contract (section 5).
"""

from __future__ import annotations

from collections.abc import Iterable

from sessions_app.llm.types import Message

ESTIMATE_BYTES_PER_TOKEN = 4
ESTIMATE_TOKENS_PER_MESSAGE = 4
BOUND_BYTES_PER_TOKEN = 3
BOUND_TOKENS_PER_MESSAGE = 8


def estimate_input(messages: Iterable[Message]) -> int:
    size_bytes, count = _measure(messages)
    return _ceil_div(size_bytes, ESTIMATE_BYTES_PER_TOKEN) + ESTIMATE_TOKENS_PER_MESSAGE * count


def estimate_output(text: str) -> int:
    return _ceil_div(_size_bytes(text), ESTIMATE_BYTES_PER_TOKEN)


def input_bound(messages: Iterable[Message]) -> int:
    """No provider counts more input tokens than this for these messages."""
    size_bytes, count = _measure(messages)
    return _ceil_div(size_bytes, BOUND_BYTES_PER_TOKEN) + BOUND_TOKENS_PER_MESSAGE * count


def _measure(messages: Iterable[Message]) -> tuple[int, int]:
    sizes_bytes = [_size_bytes(message.content) for message in messages]
    return sum(sizes_bytes), len(sizes_bytes)


def _size_bytes(text: str) -> int:
    # A lone surrogate has no UTF-8 form; it is sent as U+FFFD, which is three bytes too.
    return len(text.encode("utf-8", "surrogatepass"))


def _ceil_div(size: int, divisor: int) -> int:
    return -(-size // divisor)

"""How many tokens a text has, when nobody counted them.

Two rules for two questions. The estimate is our best guess and is billed where a provider reports no usage. The bound
is what a call can cost at most; holds are placed with it, and it is part of the contract (section 5).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sessions_app.llm.tool_wire import calls_json, tools_json
from sessions_app.llm.types import Message, ResponseSchema, ToolCall, ToolSpec

ESTIMATE_BYTES_PER_TOKEN = 4
ESTIMATE_TOKENS_PER_MESSAGE = 4
BOUND_BYTES_PER_TOKEN = 3
# What a chat template writes around each message (its role, its borders, the opening of the answer), at most. It is
# added to exact counts of the messages' texts too. Some templates write a system message of their own where a call
# begins with another role; so every call of ours begins with one.
BOUND_TOKENS_PER_MESSAGE = 8


def estimate_input(
    messages: Iterable[Message], *, schema: ResponseSchema | None = None, tools: Sequence[ToolSpec] = ()
) -> int:
    size_bytes, count = _measure(messages, schema, tools)
    return _ceil_div(size_bytes, ESTIMATE_BYTES_PER_TOKEN) + ESTIMATE_TOKENS_PER_MESSAGE * count


def estimate_output(text: str) -> int:
    return _ceil_div(_size_bytes(text), ESTIMATE_BYTES_PER_TOKEN)


def input_bound(
    messages: Iterable[Message], *, schema: ResponseSchema | None = None, tools: Sequence[ToolSpec] = (),
    calls: Sequence[ToolCall] = (),
) -> int:  # fmt: skip
    """No provider counts more input tokens than this for these messages, this schema and these tools.

    `calls`: those of messages that are counted elsewhere.
    """
    size_bytes, count = _measure(messages, schema, tools)
    size_bytes += _size_bytes(calls_json(calls))
    return _ceil_div(size_bytes, BOUND_BYTES_PER_TOKEN) + BOUND_TOKENS_PER_MESSAGE * count


def schema_json(schema: ResponseSchema) -> str:
    """As it is sent, so that what is measured is what is paid for."""
    return json.dumps(schema.schema, ensure_ascii=False)


def _measure(messages: Iterable[Message], schema: ResponseSchema | None, tools: Sequence[ToolSpec]) -> tuple[int, int]:
    sizes_bytes = [_size_bytes(message.content) + _size_bytes(calls_json(message.tool_calls)) for message in messages]
    schema_bytes = 0 if schema is None else _size_bytes(schema_json(schema))
    return sum(sizes_bytes) + schema_bytes + _size_bytes(tools_json(tools)), len(sizes_bytes)


def _size_bytes(text: str) -> int:
    # A lone surrogate has no UTF-8 form; it is sent as U+FFFD, which is three bytes too.
    return len(text.encode("utf-8", "surrogatepass"))


def _ceil_div(size: int, divisor: int) -> int:
    return -(-size // divisor)

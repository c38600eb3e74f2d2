"""A provider's own tokenizer: one request, one text, one count.

llama.cpp and vLLM have `POST /tokenize` beside their `/v1`. No other provider is expected to, so the question whether
one does is harmless: one short request to the provider's own origin that holds a letter and nothing of anybody's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Literal

import httpx

from sessions_app.llm.connections import ConnectionTrace
from sessions_app.llm.deadline import DeadlinePassedError, run_within
from sessions_app.llm.frames import MalformedFrameError, parse_object
from sessions_app.llm.providers import Provider
from sessions_app.llm.text import clean

Tokenizer = Literal["llamacpp", "vllm"]

PROBE_MAX_S = 1.0
_PROBE_TEXT = "a"
# A token of the answer is an id of at most 7 digits and a comma, twice that with blanks; the rest is small.
_ANSWER_BYTES_PER_BYTE = 16
_ANSWER_MIN_BYTES = 8_192
# Byte-level tokenizers make no more tokens than bytes; those that normalise first may make a few more of a rare sign.
_TOKENS_PER_BYTE_MAX = 8
_TOKENS_MIN = 16


class NoCountError(Exception):
    """The provider has no tokenizer, or it answered something that is no count of this text."""


class UnreachableError(NoCountError):
    """Nobody answered, which says nothing about a tokenizer."""


async def probe(client: httpx.AsyncClient, provider: Provider, *, model: str) -> Tokenizer:
    """Which tokenizer answers, asked in both dialects at once: each server reads its own names. Raises NoCountError."""
    body = {"model": model, "content": _PROBE_TEXT, "prompt": _PROBE_TEXT, "add_special_tokens": False}
    answer = await _post(client, provider, body, size_bytes=len(_PROBE_TEXT), max_s=PROBE_MAX_S)
    kind: Tokenizer = "vllm" if "count" in answer else "llamacpp"
    _count(kind, answer, _PROBE_TEXT)
    return kind


async def ask(
    client: httpx.AsyncClient, provider: Provider, kind: Tokenizer, *, model: str, text: str, max_s: float
) -> int:
    """Exact tokens of the text alone, without what a chat template adds. Raises NoCountError."""
    text = clean(text)
    body = {"content": text} if kind == "llamacpp" else {"model": model, "prompt": text, "add_special_tokens": False}
    return _count(kind, await _post(client, provider, body, size_bytes=len(text.encode()), max_s=max_s), text)


def _count(kind: Tokenizer, answer: Mapping[str, Any], text: str) -> int:
    """A number that cannot be true is no count: a window that was fitted by it would not fit."""
    tokens, count = answer.get("tokens"), answer.get("count")
    if kind == "llamacpp":
        if not isinstance(tokens, list) or not all(type(token) is int and token >= 0 for token in tokens):
            raise NoCountError
        count = len(tokens)
    if type(count) is not int or (isinstance(tokens, list) and len(tokens) != count):
        raise NoCountError
    is_blank = not text.strip()
    most = _TOKENS_PER_BYTE_MAX * len(text.encode()) + _TOKENS_MIN
    if not (0 if is_blank else 1) <= count <= most:
        raise NoCountError
    return count


async def _post(
    client: httpx.AsyncClient, provider: Provider, body: Mapping[str, Any], *, size_bytes: int, max_s: float
) -> dict[str, Any]:
    received = bytearray()
    answer_max_bytes = _ANSWER_MIN_BYTES + _ANSWER_BYTES_PER_BYTE * size_bytes
    for _ in range(2):
        trace = ConnectionTrace()
        try:
            request = _request(client, provider, body, trace)
            await run_within(max_s, _exchange(client, request, trace, received, answer_max_bytes))
            break
        except (httpx.TransportError, OSError):
            # A kept-alive connection may have been closed while idle: nothing was lost but the socket.
            if not trace.is_reused:
                raise UnreachableError from None
            received.clear()
        except DeadlinePassedError:
            raise NoCountError from None
    try:
        return parse_object(received.decode("utf-8", "replace"))
    except MalformedFrameError:
        raise NoCountError from None


async def _exchange(
    client: httpx.AsyncClient,
    request: httpx.Request,
    trace: ConnectionTrace,
    received: bytearray,
    answer_max_bytes: int,
) -> None:
    try:
        response = await client.send(request, stream=True)
    except asyncio.CancelledError:
        await trace.abandon()
        raise
    try:
        if response.status_code != httpx.codes.OK or response.headers.get("content-encoding", "identity") != "identity":
            raise NoCountError
        async with aclosing(response.aiter_raw()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                received += piece
                if len(received) > answer_max_bytes:
                    raise NoCountError
    finally:
        await response.aclose()


def _request(
    client: httpx.AsyncClient, provider: Provider, body: Mapping[str, Any], trace: ConnectionTrace
) -> httpx.Request:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    if provider.api_key:
        headers["Authorization"] = f"Bearer {provider.api_key}"
    return client.build_request(
        "POST",
        # Cut off and never replaced, so it is always the origin that the key belongs to.
        f"{provider.base_url.removesuffix('/v1')}/tokenize",
        content=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        headers=headers,
        extensions={"trace": trace},
    )

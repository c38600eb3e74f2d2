"""One HTTP request to a provider and its answer: no retry, no total limit, no metering."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, cast

import httpx

from sessions_app.llm.answer import Answer
from sessions_app.llm.connections import ConnectionTrace
from sessions_app.llm.decoding import BodyDecoder, BodyTooLargeError
from sessions_app.llm.estimate import schema_json
from sessions_app.llm.faults import (
    Fault,
    connection_fault,
    cut_fault,
    malformed_fault,
    runaway_fault,
    silence_fault,
    status_fault,
)
from sessions_app.llm.frames import Frame, MalformedFrameError, message_of, parse_object
from sessions_app.llm.providers import GatewaySettings, Provider
from sessions_app.llm.redaction import excerpt
from sessions_app.llm.retrying import parse_retry_after
from sessions_app.llm.sse import EventTooLargeError
from sessions_app.llm.text import clean
from sessions_app.llm.tool_wire import choice_body, message_body, tools_body
from sessions_app.llm.types import ChatRequest, ResponseSchema

ERROR_BODY_MAX_BYTES = 65_536
ERROR_BODY_MAX_S = 2.0
# After the finish reason only usage is to come, and after [DONE] only the end of the body. It is read, because a body
# read to its end leaves the connection fit for the next call, but nobody waits long for it.
AFTER_FINISH_MAX_S = 5.0
AFTER_DONE_MAX_S = 0.1


async def exchange(
    client: httpx.AsyncClient, provider: Provider, request: ChatRequest, settings: GatewaySettings, answer: Answer
) -> None:
    """Ask once and read the answer into `answer`. Raises Fault for whatever the provider does wrong."""
    response = await _send(client, provider, request, settings)
    try:
        if not response.is_success:
            raise await _refusal(response, provider)
        await _read(response, answer)
    finally:
        # The socket is closed here, unless the body was read to its end. That it was broken already matters no more.
        with suppress(httpx.TransportError, OSError):
            await response.aclose()


async def _send(
    client: httpx.AsyncClient, provider: Provider, request: ChatRequest, settings: GatewaySettings
) -> httpx.Response:
    trace = ConnectionTrace()
    outgoing = client.build_request(
        "POST",
        f"{provider.base_url}/chat/completions",
        content=_body(request),
        headers=_headers(provider, request),
        timeout=_timeouts(settings),
        extensions={"trace": trace},
    )
    try:
        return await client.send(outgoing, stream=True)
    except (httpx.TransportError, OSError) as error:
        raise connection_fault(error, is_reused=trace.is_reused) from None
    except asyncio.CancelledError:
        await trace.abandon()
        raise


def _timeouts(settings: GatewaySettings) -> httpx.Timeout:
    """Reading and writing share the longest silence; a free connection may take as long as a new one."""
    connect_s = settings.connect_timeout_s
    return httpx.Timeout(settings.read_timeout_s, connect=connect_s, pool=connect_s)


def _headers(provider: Provider, request: ChatRequest) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        # Compression would gather deltas, and a few packed bytes could unpack to more than any limit.
        "Accept-Encoding": "identity",
        "X-Request-ID": request.request_id,
    }
    if provider.api_key:
        headers["Authorization"] = f"Bearer {provider.api_key}"
    return headers


def _body(request: ChatRequest) -> bytes:
    body: dict[str, Any] = {
        **request.options,
        "model": request.model,
        "messages": [message_body(each) for each in request.messages],
        "max_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        # Always a stream: only a streaming provider stops generating when its socket is closed.
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = tools_body(request.tools)
        body["tool_choice"] = choice_body(request.tool_choice)
    if request.response_schema is not None:
        body["response_format"] = _response_format(request.response_schema)
    return json.dumps(body, ensure_ascii=False).encode()


def _response_format(schema: ResponseSchema) -> dict[str, Any]:
    # Cleaned like the messages: an enum may hold names that people gave.
    cleaned = json.loads(clean(schema_json(schema)))
    return {"type": "json_schema", "json_schema": {"name": schema.name, "strict": True, "schema": cleaned}}


async def _read(response: httpx.Response, answer: Answer) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise malformed_fault()
    decoder = BodyDecoder()
    try:
        await _read_frames(response, decoder, answer)
    except Fault as fault:
        # The connection broke, but after the answer had ended: nothing of it is missing.
        if fault.spoils_answer or not answer.has_ended:
            raise
    if not answer.has_ended:
        raise cut_fault(has_bytes=decoder.size_bytes > 0)


async def _read_frames(response: httpx.Response, decoder: BodyDecoder, answer: Answer) -> None:
    loop = asyncio.get_running_loop()
    limit_s = None
    try:
        async with asyncio.timeout(None) as tail, aclosing(_received(response, decoder)) as pieces:
            async for data in pieces:
                for frame in _decoded(decoder.feed(data)):
                    answer.take(frame)
                wanted_s = AFTER_DONE_MAX_S if decoder.is_done else AFTER_FINISH_MAX_S if answer.has_ended else None
                if wanted_s != limit_s:
                    limit_s = wanted_s
                    tail.reschedule(None if limit_s is None else loop.time() + limit_s)
    except TimeoutError:
        if not tail.expired():
            raise
        return
    for frame in _decoded(decoder.close()):
        answer.take(frame)


async def _received(response: httpx.Response, decoder: BodyDecoder) -> AsyncGenerator[bytes, None]:
    """The body's bytes. Only errors of the connection are translated here, never those of who consumes them."""
    try:
        async with aclosing(_pieces(response)) as pieces:
            async for data in pieces:
                yield data
    except httpx.TimeoutException:
        raise silence_fault() from None
    except (httpx.TransportError, OSError):
        raise cut_fault(has_bytes=decoder.size_bytes > 0) from None


def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    # A generator, declared as an iterator: not closed, an early end would leave it to the garbage collector.
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())


def _decoded(frames: Iterator[Frame]) -> Iterator[Frame]:
    try:
        yield from frames
    except MalformedFrameError:
        raise malformed_fault() from None
    except (EventTooLargeError, BodyTooLargeError):
        raise runaway_fault() from None


async def _refusal(response: httpx.Response, provider: Provider) -> Fault:
    """A status other than 2xx, with the little of its body that may be repeated."""
    # A 401 speaks about our key, often showing parts of it, and has nothing else to say.
    body = b"" if response.status_code == HTTPStatus.UNAUTHORIZED else await _error_body(response)
    try:
        message = message_of(parse_object(body.decode("utf-8", "replace")))
    except MalformedFrameError:
        message = ""
    return status_fault(
        response.status_code,
        message=excerpt(message, provider.api_key),
        retry_after_s=parse_retry_after(response.headers.get("retry-after"), now=datetime.now(UTC)),
    )


async def _error_body(response: httpx.Response) -> bytes:
    body = bytearray()
    with suppress(httpx.TransportError, OSError):
        async with asyncio.timeout(ERROR_BODY_MAX_S), aclosing(_pieces(response)) as pieces:
            async for data in pieces:
                body += data
                if len(body) > ERROR_BODY_MAX_BYTES:
                    break
    return bytes(body)

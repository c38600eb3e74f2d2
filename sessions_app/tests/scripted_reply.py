"""What the scripted provider answers: a `Reply` says it, `steps` turns it into timed bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, Literal

DEFAULT_USAGE: Mapping[str, Any] = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
MODELS_BODY = {"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "tests"}]}

# Before the status line: `drop` closes, `drop_reset` sends RST, `hang` says nothing. After `fault_after` chunks:
# `stall` says nothing more, `end` ends the body well-formed, `cut` closes in the middle of it, `reset` sends RST,
# `error_frame` and `error_event` send `error` and end. `endless_line` and `endless_text` never end by themselves.
Fault = Literal[
    "drop",
    "drop_reset",
    "hang",
    "stall",
    "end",
    "cut",
    "reset",
    "error_frame",
    "error_event",
    "endless_line",
    "endless_text",
]
Ending = Literal["complete", "close", "reset", "silence"]
ENDINGS: Mapping[str, Ending] = {
    "drop": "close",
    "cut": "close",
    "drop_reset": "reset",
    "reset": "reset",
    "hang": "silence",
    "stall": "silence",
}
BEFORE_STATUS = ("drop", "drop_reset", "hang")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """By default a short streamed answer with usage. `raw` replaces the whole body by these bytes."""

    chunks: tuple[Any, ...] = ("Hello", " from", " the", " script", ".")
    usage: Mapping[str, Any] | None = field(default_factory=lambda: DEFAULT_USAGE)
    usage_in_every_chunk: bool = False
    finish_reason: str | None = "stop"
    model: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Any = None
    first_delay_s: float = 0.0
    delay_s: float = 0.0
    has_done: bool = True
    as_json: bool = False
    raw: bytes | None = None
    split_at: tuple[int, ...] = ()
    piece_bytes: int | None = None
    keeps_open: bool = False
    fault: Fault | None = None
    fault_after: int = 0

    @property
    def ending(self) -> Ending:
        return ENDINGS.get(self.fault or "", "silence" if self.keeps_open else "complete")


@dataclass(frozen=True, slots=True)
class Step:
    """Wait, then send. `text` is what of the bytes is answer text, for the journal."""

    delay_s: float
    data: bytes
    text: str = ""


def content_type(reply: Reply) -> str:
    return "application/json" if reply.as_json or reply.status != 200 else "text/event-stream"


def steps(reply: Reply, request: Mapping[str, Any]) -> Iterator[Step]:
    if reply.fault in BEFORE_STATUS:
        return iter(())
    if reply.raw is not None:
        return _pieces(reply, reply.raw)
    if reply.status != 200:
        return iter([Step(0.0, _json({"error": reply.error}) if reply.error is not None else b"")])
    if reply.as_json:
        return _pieces(reply, _json(_whole(reply, request)))
    if reply.split_at or reply.piece_bytes:
        return _pieces(reply, b"".join(step.data for step in _stream(reply, request)))
    return _stream(reply, request)


def _pieces(reply: Reply, data: bytes) -> Iterator[Step]:
    """The same bytes, cut at the given places: each piece is sent as an HTTP chunk of its own."""
    if reply.piece_bytes:
        borders = list(range(reply.piece_bytes, len(data), reply.piece_bytes))
    else:
        borders = [at for at in reply.split_at if 0 < at < len(data)]
    starts = [0, *borders]
    ends = [*borders, len(data)]
    for start, end in zip(starts, ends, strict=True):
        yield Step(reply.delay_s if start else 0.0, data[start:end])


def _stream(reply: Reply, request: Mapping[str, Any]) -> Iterator[Step]:
    chunks = reply.chunks if reply.fault is None else reply.chunks[: reply.fault_after]
    for index, chunk in enumerate(_repeated(reply.chunks) if reply.fault == "endless_text" else chunks):
        usage = reply.usage if reply.usage_in_every_chunk else None
        frame = _chunk(reply, request, [{"index": 0, "delta": _delta(chunk), "finish_reason": None}], usage)
        yield Step(reply.delay_s if index else 0.0, _event(frame), chunk if isinstance(chunk, str) else "")
    if reply.fault in {"error_frame", "error_event"}:
        name = "event: error\n" if reply.fault == "error_event" else ""
        yield Step(reply.delay_s, name.encode() + _event({"error": reply.error} if not name else reply.error))
    elif reply.fault == "endless_line":
        yield from chain([Step(reply.delay_s, b"data: ")], repeat(Step(reply.delay_s, b"x" * 65_536)))
    elif reply.fault is None:
        yield from _end(reply, request)


def _end(reply: Reply, request: Mapping[str, Any]) -> Iterator[Step]:
    """As OpenAI does it: the finish reason, then usage with empty choices, then [DONE]."""
    if reply.finish_reason is not None:
        choices = [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}]
        yield Step(reply.delay_s, _event(_chunk(reply, request, choices, None)))
    if reply.usage is not None:
        yield Step(0.0, _event(_chunk(reply, request, [], reply.usage)))
    if reply.has_done:
        yield Step(0.0, b"data: [DONE]\n\n")


def _repeated(chunks: tuple[Any, ...]) -> Iterator[Any]:
    return chain.from_iterable(repeat(chunks))


def _delta(chunk: Any) -> Any:
    """A text is content; anything else is the delta itself, for shapes like parts, null or reasoning_content."""
    return {"content": chunk} if isinstance(chunk, str) else chunk


def _chunk(reply: Reply, request: Mapping[str, Any], choices: list[Any], usage: Any) -> dict[str, Any]:
    model = reply.model or str(request.get("model", "scripted"))
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": choices}
    return body if usage is None else {**body, "usage": usage}


def _whole(reply: Reply, request: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(reply.chunks)}
    choices = [{"index": 0, "message": message, "finish_reason": reply.finish_reason}]
    body = {**_chunk(reply, request, choices, reply.usage), "object": "chat.completion"}
    return body if reply.error is None else {**body, "error": reply.error}


def _event(payload: Any) -> bytes:
    return b"data: " + _json(payload) + b"\n\n"


def _json(payload: Any) -> bytes:
    """Raw UTF-8 as most servers send it; escaped where a lone surrogate allows nothing else."""
    try:
        return json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(payload).encode()

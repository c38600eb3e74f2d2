"""OpenTelemetry traces, off by default. Off means: nothing of OpenTelemetry is imported, and a span costs a comparison.

On where the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`). The
SDK reads the other OTEL_* variables itself. Spans go to a queue of bounded length that a thread of its own empties: no
turn waits for the collector, and one that is away costs the spans and nothing else.

A span carries ids, names, counts and states, never what anybody wrote, and no key. Trace ids are not sent on to model
providers: they are other people's machines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

log = structlog.get_logger(__name__)
Value = str | bool | int | float | Sequence[str]
# At the end of a process the collector is waited for no longer than this.
FLUSH_S = 2.0
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_provider: TracerProvider | None = None
_tracer: Tracer | None = None


class Span(Protocol):
    """What a span's block may do with it."""

    def set(self, attributes: Mapping[str, Value | None]) -> None: ...

    def fail(self, error_type: str) -> None: ...


def is_wanted() -> bool:
    """What the environment says."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporters = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return any(os.environ.get(name, "").strip() for name in _ENDPOINTS) and not disabled and exporters != "none"


def is_on() -> bool:
    return _tracer is not None


def start(role: str, *, version: str) -> None:
    """In each process that serves, once, after it was forked or spawned. Nothing where traces are off."""
    global _provider, _tracer  # noqa: PLW0603 - one provider a process
    if _tracer is not None or not is_wanted():
        return
    from config.core.tracing_export import tracer_provider

    try:
        _provider = tracer_provider(role, version=version)
    except (ValueError, OSError) as error:
        # What the SDK says to a variable or a file that it cannot read. Turns run without traces, too.
        log.error("tracing_not_started", error=str(error))
        return
    _tracer = _provider.get_tracer("tallyroom", version)
    log.info("tracing_started", role=role)


def stop() -> None:
    """Send what is queued, for `FLUSH_S` at most. Blocks."""
    global _provider, _tracer  # noqa: PLW0603
    provider, _provider, _tracer = _provider, None, None
    if provider is None:
        return
    # The SDK would wait half a minute for a collector that is away; a daemon thread keeps nobody from ending.
    flushing = Thread(target=provider.shutdown, name="traces at the end", daemon=True)
    flushing.start()
    flushing.join(FLUSH_S)


def adopt(headers: Mapping[str, str]) -> None:
    """Continue the caller's trace (W3C `traceparent`) in this request, or begin a new one."""
    if _tracer is None:
        return
    from opentelemetry.context import Context, attach
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {name: value for name in ("traceparent", "tracestate") if (value := headers.get(name))}
    # From an empty context: a thread or connection that served another request must not lend its trace.
    attach(TraceContextTextMapPropagator().extract(carrier, context=Context()))


def add_ids(logger: object, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog's processor: the ids by which a log line finds its trace."""
    if _tracer is not None:
        from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

        context = get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"], line["span_id"] = format_trace_id(context.trace_id), format_span_id(context.span_id)
    return line


def span(
    name: str, attributes: Mapping[str, Value | None], *, kind: Literal["internal", "client"] = "internal"
) -> AbstractContextManager[Span]:
    """A span around a block, child of the one around it, also across the tasks that the block starts."""
    return NO_SPAN if _tracer is None else _Open(_tracer, name, attributes, is_client=kind == "client")


class _NoSpan:
    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        pass

    def fail(self, error_type: str) -> None:
        pass


NO_SPAN = _NoSpan()


class _Open:
    def __init__(self, tracer: Tracer, name: str, attributes: Mapping[str, Value | None], *, is_client: bool) -> None:
        from opentelemetry.trace import SpanKind

        self._span: OtelSpan = tracer.start_span(
            name,
            kind=SpanKind.CLIENT if is_client else SpanKind.INTERNAL,
            attributes=_present(attributes),
            record_exception=False,
            set_status_on_exception=False,
        )

    def __enter__(self) -> Span:
        from opentelemetry.context import attach
        from opentelemetry.trace import set_span_in_context

        self._token = attach(set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        from opentelemetry.context import detach

        # The name of the class alone: an exception's text may repeat what somebody wrote. A cancelled block is no
        # error of it.
        if isinstance(error, Exception):
            self.fail(type(error).__name__)
        detach(self._token)
        self._span.end(time.time_ns())

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        self._span.set_attributes(_present(attributes))

    def fail(self, error_type: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", error_type)
        self._span.set_status(StatusCode.ERROR)


def _present(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}

"""The way of the spans out of the process. Imported only where traces are on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

log = structlog.get_logger(__name__)
SAY_AT_MOST_EVERY_S = 60.0
# Each of these writes several lines for every batch that a collector does not take.
_TALKATIVE = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "urllib3.connectionpool")


def tracer_provider(role: str, *, version: str) -> TracerProvider:
    """Raises: ValueError for a setting that the SDK refuses."""
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"):
        if os.environ.get(name, "") not in {"", "http/protobuf"}:
            raise ValueError(f"{name}: only http/protobuf is spoken here")
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ours = {"service.version": version, "service.instance.id": f"{role}-{os.getpid()}", "tallyroom.role": role}
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say is stronger than what we say.
    resource = Resource(ours).merge(Resource.create())
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "tallyroom"}))
    # Not at exit: `tracing.stop` has a limit, the SDK's own has none that a process should wait for.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_OneLine(OTLPSpanExporter())))
    return provider


class _OneLine(SpanExporter):
    """Says once in a while how many spans the collector did not take, instead of each time."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._said_at = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._lost += len(spans)
            self._say()
        return result

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAY_AT_MOST_EVERY_S:
            log.warning("traces_not_exported", spans=self._lost)
            self._lost, self._said_at = 0, now

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

"""Traces off: nothing of OpenTelemetry is needed, and nothing happens."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.core import tracing

ROOT = Path(__file__).resolve().parents[4]
# Some libraries import parts of OpenTelemetry for themselves where it is installed. Here nobody can.
OFF = """
import sys
sys.modules["opentelemetry"] = None
import django; django.setup()
from uuid import uuid4
from config.core import tracing
from sessions_app import tracing as spans
from sessions_app.llm.types import ChatRequest
tracing.start("web", version="1")
tracing.adopt({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
request = ChatRequest(provider="default", model="m", messages=(), max_output_tokens=1, request_id="r")
with spans.turn_span(turn_id=uuid4(), session_id=uuid4(), mode="manual") as turn:
    with spans.call_span(request, purpose="agent") as call:
        call.finished(None, None)
    turn.ended(status="failed", error_code="internal_error")
with tracing.span("any", {"a": 1}) as span:
    span.set({"b": 2})
    span.fail("error")
assert tracing.add_ids(None, "info", {"event": "x"}) == {"event": "x"}
tracing.stop()
assert not [name for name in sys.modules if name.startswith("opentelemetry.")]
"""


def test_off_needs_nothing_of_opentelemetry():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment |= {"DEBUG": "1", "DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run([sys.executable, "-c", OFF], env=environment, cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("environment", "is_wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_environment_decides(monkeypatch, environment, is_wanted):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing.is_wanted() is is_wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:99999/v1/traces"),
        ("OTEL_SDK_DISABLED", "1"),
    ],
)
def test_a_wrong_variable_stops_the_start_by_its_name(name, value):
    environment = {**os.environ, "DEBUG": "1", "DJANGO_SETTINGS_MODULE": "config.settings", name: value}
    ended = subprocess.run(
        [sys.executable, "-c", "from django.conf import settings; settings.DEBUG"],
        env=environment, cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 1
    assert f"ImproperlyConfigured: {name}: expected" in ended.stderr or f"{name}: not a URL" in ended.stderr


def test_a_span_that_is_off_costs_next_to_nothing():
    assert not tracing.is_on()
    started = time.process_time()
    for _ in range(10_000):
        with tracing.span("any", {}) as span:
            span.set({})
    assert (time.process_time() - started) / 10_000 < 20e-6

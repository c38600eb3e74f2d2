"""Traces of real turns, as a collector on a real socket gets them."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager, suppress

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from billing.models import LLMCallEvent
from sessions_app.models import Turn
from sessions_app.services import create_agent, create_room, open_room_session, seat_agent
from sessions_app.tests.e2e.collecting import Collector, attributes
from sessions_app.tests.e2e.conftest import API_KEY
from sessions_app.tests.e2e.processes import start_worker
from sessions_app.tests.e2e.servers import WebProcess, web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "prompt_tokens_details": {"cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 15},
}


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


@contextmanager
def serving(provider, endpoint, count=1, **environment):
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    keys = {"LLM_BASE_URL": provider.base_url, "LLM_API_KEY": API_KEY}
    with web_processes(count, **keys, **traced, TURN_LEASE_S="2", LLM_MAX_RETRIES="0", **environment) as webs:
        yield webs


def post(web, person, session, message="hi", **headers):
    with web.client(person.token) as client:
        return client.post(f"/sessions/{session}/turns", json={"message": message}, headers=headers)


def traceparent(flags="01"):
    return f"00-{TRACE}-{PARENT}-{flags}"


def canary_room(person):
    room = create_room(user_id=person.id, fields={"name": "canary-room", "mode": "roundtable", "goal": "canary-goal"})
    for key in ("ann", "bob"):
        fields = {"agent_key": key, "name": "canary-name", "role_prompt": "canary-role", "model_alias": "gpt-4o"}
        seat_agent(room, agent_id=create_agent(user_id=person.id, fields=fields).id, position=None)
    return open_room_session(room).id


def test_a_turn_and_its_calls(provider, script, collector):
    script.reply = Reply(chunks=("canary-answer",), usage=USAGE, model="gpt-4o-2026")
    person = make_person("alice")
    session = canary_room(person)
    with serving(provider, collector.url) as (web,):
        answer = post(web, person, session, "canary-message", traceparent=traceparent(), tracestate="a=b")
        assert answer.status_code == 201
        spans = {span.name + str(n): span for n, span in enumerate(collector.wait_for(3))}
    first, second, turn_span = sorted(spans.values(), key=lambda span: span.end_time_unix_nano)
    turn = Turn.objects.get(session_id=session)
    events = list(LLMCallEvent.objects.filter(turn_id=turn.id).order_by("call_index"))

    assert (turn_span.name, turn_span.kind) == ("invoke_workflow roundtable", Span.SPAN_KIND_INTERNAL)
    assert (turn_span.trace_id.hex(), turn_span.parent_span_id.hex()) == (TRACE, PARENT)
    assert turn_span.status.code == Status.STATUS_CODE_UNSET
    assert attributes(turn_span) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "roundtable",
        "gen_ai.conversation.id": str(session),
        "tallyroom.turn.id": str(turn.id),
        "tallyroom.turn.mode": "roundtable",
        "tallyroom.turn.status": "completed",
        "tallyroom.llm_calls": 2,
        "tallyroom.credits": str(sum(event.credits_charged for event in events)),
    }
    for index, (span, event) in enumerate(zip((first, second), events, strict=True), start=1):
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert (span.trace_id.hex(), span.parent_span_id) == (TRACE, turn_span.span_id)
        assert turn_span.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano
        found = attributes(span)
        assert span.name == f"chat {found['gen_ai.request.model']}"
        assert 0 < found.pop("gen_ai.response.time_to_first_chunk") < 5
        assert found.pop("gen_ai.request.max_tokens") > 0
        assert found == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "default",
            "gen_ai.request.model": found["gen_ai.request.model"],
            "gen_ai.request.temperature": 0.2,
            "gen_ai.request.stream": True,
            "gen_ai.output.type": "text",
            "gen_ai.response.model": "gpt-4o-2026",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 40,
            "gen_ai.usage.cache_read.input_tokens": 30,
            "gen_ai.usage.cache_creation.input_tokens": 0,
            "gen_ai.usage.reasoning.output_tokens": 15,
            "gen_ai.conversation.id": str(session),
            "gen_ai.agent.name": ("ann", "bob")[index - 1],
            "gen_ai.agent.id": str(event.agent_id),
            "tallyroom.purpose": "agent",
            "tallyroom.model_alias": "gpt-4o",
            "tallyroom.call.index": index,
            "tallyroom.call.status": "success",
            "tallyroom.call.attempts": 1,
            "tallyroom.usage_source": "provider",
            "tallyroom.credits": str(event.credits_charged),
        }
    resource = collector.resource()
    assert (resource["service.name"], resource["tallyroom.role"]) == ("tallyroom", "web")


def test_nothing_that_anybody_wrote_and_no_key_is_in_what_the_collector_gets(provider, script, collector):
    person = make_person("alice")
    session = canary_room(person)
    long_enough = {"max_output_tokens": 50}
    with serving(provider, collector.url) as (web,):
        for reply in (
            Reply(chunks=("canary-answer",), finish_reason="canary finish reason"),
            Reply(status=500, error={"message": f"canary-error {API_KEY}"}),
            Reply(chunks=("canary-answer",), fault="error_frame", fault_after=1, error={"message": "canary-frame"}),
        ):
            script.reply = reply
            with web.client(person.token) as client:
                client.post(f"/sessions/{session}/turns", json={"message": "canary-message", **long_enough})
        collector.wait_for(9)
    everything = b"".join(collector.bodies) + repr(collector.headers).encode()
    for secret in (b"canary", API_KEY.encode(), person.token.encode(), person.email.encode()):
        assert secret not in everything


def test_a_provider_is_not_told_of_our_traces(provider, script, collector):
    person = make_person("alice")
    session = make_session(person, "ann")
    with serving(provider, collector.url) as (web,):
        post(web, person, session, traceparent=traceparent())
        collector.wait_for(2)
    assert "traceparent" not in provider.journal[-1].headers
    assert TRACE not in repr(provider.journal[-1].headers)


def test_failures_have_a_type_and_no_text(provider, script, collector):
    script.reply = Reply(status=429, error={"message": "canary"})
    person = make_person("alice")
    with serving(provider, collector.url) as (web,):
        assert post(web, person, make_session(person, "ann")).status_code == 503
        call, turn = sorted(collector.wait_for(2), key=lambda span: span.end_time_unix_nano)
    for span in (call, turn):
        assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "")
        assert attributes(span)["error.type"] == "provider_unavailable"
        assert not span.events
    assert attributes(call)["tallyroom.call.status"] == "rate_limited"
    assert attributes(turn)["tallyroom.turn.status"] == "failed"


def test_turns_of_one_client_do_not_lend_each_other_their_trace(provider, script, collector):
    person = make_person("alice")
    sessions = [make_session(person, "ann") for _ in range(2)]
    with serving(provider, collector.url) as (web,):
        with web.client(person.token) as client:
            # One kept-alive connection; only the first request is part of a trace of the caller's.
            headers = {"traceparent": traceparent()}
            client.post(f"/sessions/{sessions[0]}/turns", json={"message": "hi"}, headers=headers)
            client.post(f"/sessions/{sessions[1]}/turns", json={"message": "hi"})
        turns = [span for span in collector.wait_for(4) if span.name.startswith("invoke_workflow")]
    ours = {attributes(span)["gen_ai.conversation.id"]: span for span in turns}
    assert ours[str(sessions[0])].trace_id.hex() == TRACE
    assert ours[str(sessions[1])].trace_id.hex() != TRACE
    assert ours[str(sessions[1])].parent_span_id == b""


def test_a_caller_that_does_not_sample_is_respected_and_log_lines_carry_its_trace(
    provider, script, collector, tmp_path
):
    person = make_person("alice")
    log = tmp_path / "log"
    with log.open("wb") as stderr, serving_to(stderr, provider, collector.url) as web:
        post(web, person, make_session(person, "ann"), traceparent=traceparent("00"))
        post(web, person, make_session(person, "ann"))
        spans = collector.wait_for(2)
        web.stop()
    assert TRACE not in {span.trace_id.hex() for span in spans}
    ended = [line for line in lines_of(log) if line.get("event") == "turn_ended"]
    assert [line["trace_id"] == TRACE for line in ended] == [True, False]
    assert {line["trace_id"] for line in ended[1:]} == {span.trace_id.hex() for span in spans}


def test_a_turn_whose_process_died_gets_its_span_from_the_worker_that_ends_it(provider, script, collector):
    person = make_person("alice")
    session = make_session(person, "ann")
    script.reply = Reply(first_delay_s=30)
    with serving(provider, collector.url) as (web,):
        with suppress(httpx.TransportError), web.client(person.token) as client:
            client.post(f"/sessions/{session}/turns", json={"message": "hi"}, timeout=1)
        web.kill()
        # The lease and a third of it.
        time.sleep(3)
        worker = start_worker(web.environment)
        try:
            (span,) = collector.wait_for(1, timeout_s=40)
        finally:
            worker.terminate()
            worker.wait(timeout=30)
    found = attributes(span)
    assert (found["tallyroom.turn.status"], found["tallyroom.turn.recovered"]) == ("interrupted", True)
    assert (found["gen_ai.conversation.id"], found["error.type"]) == (str(session), "turn_interrupted")
    assert collector.resource()["tallyroom.role"] == "worker"


@contextmanager
def serving_to(stderr, provider, endpoint, **environment):
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100", "LOG_LEVEL": "INFO"}
    web = WebProcess(LLM_BASE_URL=provider.base_url, LLM_API_KEY=API_KEY, **traced, **environment)
    web.start(stderr=stderr)
    try:
        yield web.wait()
    finally:
        web.stop()


def lines_of(log):
    lines = []
    for line in log.read_text().splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return lines


@pytest.mark.parametrize("kind", ["refuses", "hangs"])
def test_a_collector_that_is_away_slows_nothing_down_and_fills_no_log(provider, script, tmp_path, kind):
    person = make_person("alice", credits="100")
    log = tmp_path / "log"
    with socket.socket() as listening, log.open("wb") as stderr:
        listening.bind(("127.0.0.1", 0))
        if kind == "hangs":
            listening.listen(100)
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with serving_to(stderr, provider, endpoint) as web:
            started = time.monotonic()
            for _ in range(10):
                assert post(web, person, make_session(person, "ann")).status_code == 201
            assert time.monotonic() - started < 10
            time.sleep(2)
            script.reply = Reply(delay_s=0.1)
            started = time.monotonic()
            web.stop()
            assert time.monotonic() - started < 8
    about = [
        line
        for line in log.read_text().splitlines()
        if "export" in line or "opentelemetry" in line or "urllib3" in line
    ]
    assert len(about) <= 2

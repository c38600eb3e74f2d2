"""What a scrape shows: the sums of all processes, wherever the turns ran and whichever of them died."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest
from django.core.management import call_command
from django.db.models import Sum

from billing.models import CreditTransaction, LLMCallEvent
from config.core.tests.racing import at_once
from sessions_app.models import Turn
from sessions_app.tests.e2e.conftest import API_KEY
from sessions_app.tests.e2e.processes import start_worker
from sessions_app.tests.e2e.scraping import scrape
from sessions_app.tests.e2e.servers import WebProcess, free_port, web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.long, pytest.mark.server, pytest.mark.usefixtures("committed")]
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "prompt_tokens_details": {"cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 15},
}


@contextmanager
def serving(count, provider, folder, **environment):
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "LLM_BASE_URL": provider.base_url, "LLM_API_KEY": API_KEY}
    with web_processes(count, **shared, TURN_LEASE_S="2", **environment) as webs:
        yield webs


def post(web, person, session, message="hi"):
    with web.client(person.token) as client:
        return client.post(f"/sessions/{session}/turns", json={"message": message})


def post_many(webs, count, *agents):
    person = make_person("alice", credits="1000")
    sessions = [make_session(person, *agents) for _ in range(count)]
    answers = at_once(*[lambda n=n, s=s: post(webs[n % len(webs)], person, s) for n, s in enumerate(sessions)])
    assert {answer.status_code for answer in answers} == {201}
    return person


def test_every_process_shows_what_all_of_them_did(provider, script, tmp_path):
    script.reply = Reply(usage=USAGE)
    with serving(2, provider, tmp_path) as webs:
        person = post_many(webs, 10, "ann", "bob")
        shown = [scrape(web) for web in webs]
    for one in shown:
        assert one.sum("turns_ended_total", mode="roundtable", status="completed") == 10
        assert one.sum("turns_ended_total") == 10
        assert one.sum("turns_running") == 0
        assert one.sum("turn_duration_seconds_count", mode="roundtable") == 10
        assert one.sum("turn_first_text_seconds_count", mode="roundtable") == 10
        assert one.sum("llm_calls_total", purpose="agent", model_alias="gpt-4o", status="success") == 20
        assert one.sum("llm_call_duration_seconds_count", model_alias="gpt-4o") == 20
        assert one.sum("llm_call_first_token_seconds_count", model_alias="gpt-4o") == 20
        pools = {pool: one.sum("llm_tokens_total", pool=pool) for pool in ("fresh", "cached", "output", "reasoning")}
        assert pools == {"fresh": 1400, "cached": 600, "output": 800, "reasoning": 300}
        assert one.sum("llm_calls_by_usage_source_total", usage_source="provider") == 20
        route = "api/v1/sessions/<uuid:session_id>/turns"
        assert one.sum("http_requests_total", method="POST", route=route, status="2xx") == 10
        assert one.sum("http_request_duration_seconds_count", method="POST", route=route) == 10
        assert one.sum("database_up") == 1
        assert one.sum("holds_open") == 0
    events = LLMCallEvent.objects.filter(user_id=person.id)
    charged = events.aggregate(total=Sum("credits_charged"))["total"]
    assert shown[0].sum("credits_charged_total") == pytest.approx(float(charged))
    assert -CreditTransaction.objects.filter(user_id=person.id, kind="debit").aggregate(t=Sum("amount"))["t"] == charged


def test_labels_are_few_and_name_nobody(provider, script, tmp_path):
    with serving(1, provider, tmp_path) as (web,):
        person = post_many([web], 1, "canary_agent")
        httpx.get(f"{web.url}/api/v1/sessions/canary-in-a-path")
        httpx.request("PROPFIND", f"{web.url}/api/v1/models")
        httpx.get(f"{web.url}/canary-page")
        shown = scrape(web)
    turn = Turn.objects.get(user_id=person.id)
    for secret in (str(person.id), str(turn.id), str(turn.session_id), person.email, "canary", "PROPFIND", API_KEY):
        assert secret not in shown.text
    assert shown.labels("http_requests_total") == {"method", "route", "status"}
    assert shown.sum("http_requests_total", method="other") == 1
    assert shown.sum("http_requests_total", route="unmatched") >= 1


def test_refusals_and_provider_errors_are_counted_by_code(provider, script, tmp_path):
    script.reply = Reply(status=401)
    with serving(1, provider, tmp_path) as (web,):
        person, poor = make_person("alice"), make_person("bob", credits="0")
        assert post(web, person, make_session(person, "ann")).status_code == 502
        assert post(web, poor, make_session(poor, "ann")).status_code == 402
        shown = scrape(web)
    assert shown.sum("turns_ended_total", status="failed") == 1
    assert shown.sum("llm_calls_total", status="error") == 1
    assert shown.sum("provider_errors_total", provider="default", code="provider_error") == 1
    assert shown.sum("turns_refused_total", code="insufficient_credits") == 1


def test_a_kill_takes_no_count_away_and_its_turn_is_counted_once(provider, script, tmp_path):
    with serving(2, provider, tmp_path) as webs:
        post_many(webs, 6, "ann")
        before = scrape(webs[0])
        script.reply = Reply(first_delay_s=30)
        person = make_person("bob")
        session = make_session(person, "ann")
        with suppress(httpx.TransportError), httpx.Client(timeout=1) as client:
            client.post(
                f"{webs[1].url}/api/v1/sessions/{session}/turns",
                json={"message": "hi"},
                headers={"Authorization": f"Bearer {person.token}"},
            )
        running = scrape(webs[0])
        assert running.sum("turns_running", mode="roundtable") == 1
        assert running.sum("turns_stored_running") == 1
        assert running.sum("holds_open") == 1
        assert running.sum("holds_open_credits") > 0
        webs[1].kill()
        after = scrape(webs[0])
        assert after.sum("turns_running") == 0
        assert all(after.samples[key] >= value for key, value in before.counters().items())
        while scrape(webs[0]).sum("turns_lease_lost") == 0:
            time.sleep(0.2)
        # A third process takes the slot of the dead one, sweeps at its start, and counts what it swept.
        with serving(1, provider, tmp_path):
            deadline = time.monotonic() + 20
            while (last := scrape(webs[0])).sum("turns_recovered_total") == 0 and time.monotonic() < deadline:
                time.sleep(0.2)
    assert last.sum("turns_ended_total", status="interrupted") == 1
    assert last.sum("turns_ended_total") == 7
    assert last.sum("llm_calls_lost_total") == 1
    assert last.sum("llm_usage_flags_total", flag="process_died") == 1
    assert last.sum("turns_lease_lost") == 0
    assert all(last.samples[key] >= value for key, value in before.counters().items())
    assert {file.name for file in tmp_path.glob("counter_*")} == {"counter_0.db", "counter_1.db"}


def test_workers_behind_one_port_that_die_and_come_back(provider, script, tmp_path):
    with serving(1, provider, tmp_path, WEB_CONCURRENCY="2") as (web,):
        before = None
        for kills in range(4):
            post_many([web], 4, "ann")
            shown = scrape(web)
            assert shown.sum("turns_ended_total") == 4 * (kills + 1)
            if before is not None:
                assert all(shown.samples[key] >= value for key, value in before.counters().items())
            before = shown
            _kill_one_worker(web)
    assert len(list(tmp_path.glob("counter_*"))) <= 3


def _kill_one_worker(web: WebProcess) -> None:
    parent = psutil.Process(web.process.pid)
    workers = _workers(parent)
    assert len(workers) == 2
    workers[0].kill()
    gone = workers[0].pid
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError, AssertionError, psutil.Error):
            now = [worker for worker in _workers(parent) if worker.pid != gone and worker.is_running()]
            names = {
                dict(has).get("process") for name, has in scrape(web).samples if name == "process_start_time_seconds"
            }
            if len(now) == 2 and len(names) == 2:
                return
        time.sleep(0.2)
    raise AssertionError("the worker did not come back")


def _workers(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_new_start_begins_at_zero(provider, script, tmp_path):
    with serving(1, provider, tmp_path) as (web,):
        post_many([web], 1, "ann")
        assert scrape(web).sum("turns_ended_total") == 1
    with serving(1, provider, tmp_path) as (web,):
        assert scrape(web).sum("turns_ended_total") == 0


def test_the_worker_joins_and_shows_itself_on_a_port_of_its_own(provider, script, tmp_path):
    port = free_port()
    with serving(1, provider, tmp_path) as (web,):
        post_many([web], 2, "ann")
        environment = {**web.environment, "WORKER_METRICS_PORT": str(port)}
        worker = start_worker(environment)
        try:
            shown = _scrape_when_there(f"http://127.0.0.1:{port}")
            assert shown.sum("turns_ended_total") == 2
            names = {dict(has)["process"] for name, has in shown.samples if name == "process_start_time_seconds"}
            assert names == {"web-0", "worker-1"}
            assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404
            assert httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Forwarded": "for=x"}).status_code == 404
        finally:
            worker.terminate()
            worker.wait(timeout=30)


def _scrape_when_there(url: str):
    deadline = time.monotonic() + 30
    while True:
        try:
            return scrape(url)
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the worker's port did not open"
            time.sleep(0.2)


def test_the_ledger_check_is_shown_with_its_time(provider, tmp_path):
    with serving(1, provider, tmp_path) as (web,):
        call_command("check_ledger")
        shown = scrape(web)
    assert shown.sum("ledger_check_ok") == 1
    assert shown.sum("ledger_check_violations") == 0
    assert shown.sum("ledger_check_timestamp_seconds") == pytest.approx(time.time(), abs=60)
    assert shown.sum("ledger_check_duration_seconds") < 60
    assert shown.sum("pricing_info", pricing_version="2026-02-20") == 1


def test_without_a_database_the_rest_is_shown(provider, script, tmp_path):
    nowhere = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}
    with serving(1, provider, tmp_path, **nowhere) as (web,):
        started = time.monotonic()
        shown = scrape(web)
    assert time.monotonic() - started < 10
    assert shown.sum("database_up") == 0
    assert ("tallyroom_database_up", frozenset()) in shown.samples
    assert shown.sum("http_requests_total") >= 1

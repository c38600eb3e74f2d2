"""Redis or PostgreSQL away, and the worker that ends what died: said by health, and no credit lost."""

from __future__ import annotations

import os
import threading
import time
from decimal import Decimal

import httpx
import pytest
from django.db import connection

from billing.models import CreditWallet
from config.core.ids import uuid7
from sessions_app.models import Turn
from sessions_app.tests.e2e.processes import start_worker
from sessions_app.tests.e2e.servers import WebProcess, database_url, free_port, web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 0, "completion_tokens": 5_000}


def test_health_shows_the_price_version_and_the_missing_worker(web):
    with web.client() as client:
        shown = client.get("/health").json()
        assert client.get("/health/live").json() == {"status": "ok", "version": "0.1.0"}
    age_s = shown["checks"]["pricing"].pop("age_s")
    assert 0 <= age_s < 60
    revision = shown["checks"]["pricing"].pop("revision")
    assert revision >= 1
    shown["checks"].pop("worker")  # Another test's worker may have shown itself through the same Redis.
    assert shown["checks"] == {
        "database": "ok",
        "redis": "ok",
        "rate_limits": "off",
        "pricing": {"status": "ok", "pricing_version": "2026-02-20"},
    }


def test_without_redis_turns_run_and_bill(provider, script):
    script.reply = Reply(usage=USAGE)
    alice = make_person("alice")
    session = make_session(alice, "solo")
    away = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with web_processes(1, LLM_BASE_URL=provider.base_url, **away) as (web,), web.client(alice.token) as client:
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert health.json()["checks"]["redis"] == "down"
        turn = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()
    assert (turn["status"], turn["balance_after"]) == ("completed", "9.00000000")


def test_without_a_database_every_answer_says_so(committed):
    web = WebProcess(DATABASE_URL=f"postgres://nobody@127.0.0.1:{free_port()}/nothing").start().wait()
    try:
        with web.client("0" * 64) as client:
            health = client.get("/health")
            assert (health.status_code, health.json()["checks"]["database"]) == (503, "down")
            assert client.get("/health/live").status_code == 200
            turns = f"/sessions/{uuid7()}/turns"
            for method, path, body in (("GET", "/rooms", None), ("POST", turns, {"message": "hi"})):
                answer = client.request(method, path, json=body)
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
                assert answer.headers["retry-after"] == "2"
    finally:
        web.stop()


def test_a_connection_lost_while_a_call_runs_does_not_lose_its_bill(web, script):
    """Every connection to the database is cut while the provider answers; settling takes new ones."""
    script.reply = Reply(chunks=tuple("abcd"), usage=USAGE, delay_s=0.2)
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben")
    answers = []

    def post():
        with web.client(alice.token) as client:
            answers.append(client.post(f"/sessions/{session}/turns", json={"message": "hi"}))

    running = threading.Thread(target=post)
    running.start()
    while not Turn.objects.filter(session_id=session).exists():
        time.sleep(0.02)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'web'"
        )
    running.join()
    assert (answers[0].status_code, answers[0].json()["status"]) == (201, "completed")
    assert CreditWallet.objects.get(user_id=alice.id).balance == Decimal(8)


def test_the_worker_ends_what_a_killed_process_left(provider, script):
    script.reply = Reply(first_delay_s=60)
    alice = make_person("alice")
    session = make_session(alice, "solo")
    victim = WebProcess(name="victim", LLM_BASE_URL=provider.base_url, TURN_LEASE_S="1").start().wait()
    lost = threading.Thread(target=_post_and_be_hung_up_on, args=[victim, alice, session])
    lost.start()
    while not Turn.objects.filter(session_id=session).exists():
        time.sleep(0.02)
    victim.kill()
    lost.join()
    environment = {**os.environ, "DATABASE_URL": database_url("worker"), "SWEEP_INTERVAL_S": "1", "DEBUG": "1"}
    worker = start_worker(environment, "--beat", "--scheduler", "celery.beat:Scheduler")
    try:
        deadline = time.monotonic() + 40
        while Turn.objects.get(session_id=session).status == "running":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        worker.terminate()
        worker.wait(timeout=30)
    assert Turn.objects.get(session_id=session).status == "interrupted"
    wallet = CreditWallet.objects.get(user_id=alice.id)
    assert (wallet.balance, wallet.held) == (Decimal(10), 0)


def _post_and_be_hung_up_on(web, person, session):
    with web.client(person.token) as client, pytest.raises(httpx.TransportError):
        client.post(f"/sessions/{session}/turns", json={"message": "hi"})

"""A price version that was scheduled comes into force by the worker's beat, for every turn opened after, everywhere."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from pricing import drafting, lifecycle, serving
from pricing.models import PricingVersion
from pricing.services import set_multiplier
from sessions_app.models import Turn
from sessions_app.tests.e2e.processes import start_worker
from sessions_app.tests.e2e.servers import web_processes
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = [pytest.mark.long, pytest.mark.server, pytest.mark.usefixtures("committed")]

ONE_CREDIT = {"prompt_tokens": 0, "completion_tokens": 10_000}


def wait_for(condition, *, timeout_s: float = 60):
    until = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


def schedule_dearer(*, in_s: float) -> None:
    drafting.make_draft(version="dearer", actor="test")
    set_multiplier(model_alias="gpt-4o-mini", multiplier=Decimal("3.25"), actor="test", pricing_version="dearer")
    moment = timezone.now() + timedelta(seconds=in_s)
    lifecycle.schedule(pricing_version="dearer", effective_at=moment, actor="test")


def post(web, person, session) -> dict:
    with web.client(person.token) as client:
        return client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()


def test_a_turn_pays_the_price_of_when_it_opened_whatever_comes_into_force_meanwhile(provider, script):
    alice = make_person("alice", credits="100")
    sessions = [make_session(alice, "mini", model_alias="gpt-4o-mini") for _ in range(3)]
    with web_processes(2, LLM_BASE_URL=provider.base_url) as webs:
        worker = start_worker(webs[0].environment, "--beat", "--scheduler", "celery.beat:Scheduler")
        try:
            script.reply = Reply(chunks=tuple("abcdefgh"), usage=ONE_CREDIT, delay_s=2)
            in_flight = []
            slow = threading.Thread(target=lambda: in_flight.append(post(webs[1], alice, sessions[0])))
            slow.start()
            wait_for(lambda: Turn.objects.filter(session_id=sessions[0]).exists())
            schedule_dearer(in_s=1)
            wait_for(lambda: PricingVersion.objects.filter(version="dearer", status="active").exists())
            assert Turn.objects.get(session_id=sessions[0]).finished_at is None
            script.reply = Reply(usage=ONE_CREDIT)
            after = [post(web, alice, session) for web, session in zip(webs, sessions[1:], strict=True)]
            slow.join()
            # Both web processes and the worker.
            wait_for(lambda: [one.pricing_version for one in serving.processes() or []] == ["dearer"] * 3)
        finally:
            worker.terminate()
            worker.wait(timeout=60)
    assert (in_flight[0]["pricing_version"], in_flight[0]["usage"]["credits_charged"]) == ("2026-02-20", "1.00000000")
    assert [turn["pricing_version"] for turn in after] == ["dearer", "dearer"]
    assert [turn["usage"]["credits_charged"] for turn in after] == ["3.25000000", "3.25000000"]
    assert serving.processes() == []

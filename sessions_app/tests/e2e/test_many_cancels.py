"""Hundreds of cancels: each is billed for what came, and none leaves a connection behind."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from urllib.parse import urlsplit

import psutil
import pytest
from django.conf import settings
from django.db import connection

from billing.models import CreditTransaction, CreditWallet, LLMCallEvent
from sessions_app import services
from sessions_app.models import Session, Turn
from sessions_app.tests.e2e.servers import sse
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

# A cancel is heard by the process that runs the turn, and by the other one that passes it on.
WEB_PROCESSES = 2
ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "60"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed"), pytest.mark.timeout(300)]

CANCELS, THREADS = 300, 4
# More at once than afterwards, so that pools have grown as far as they need to.
WARM_UP, WARM_UP_THREADS = 48, 8
CANCELS_BEFORE_TEXT = 40
# (0.35 x 12 input + 3 output, both estimated) x 2 / 10000
PRICE = Decimal("0.00144")


def sessions_of(person, count):
    first = Session.objects.select_related("room").get(pk=make_session(person, "ann", "ben"))
    return [first.id, *(services.open_room_session(first.room).id for _ in range(count - 1))]


def cancelled(runner, canceller, session):
    """Open a stream, cancel its turn once its first text is there; returns all its events."""
    with runner.stream("POST", f"/sessions/{session}/turns/stream", json={"message": "hi"}) as answer:
        text, pieces = "", answer.iter_text()
        while "event: chunk" not in text or not text.endswith("\n\n"):
            text += next(pieces)
        assert canceller.post(f"/turns/{sse(text)[0][2]['turn_id']}/cancel").status_code in {200, 202}
        return sse(text + "".join(pieces))


def cancel_many(webs, person, count, *, threads=THREADS):
    """The streams of so many turns, each cancelled; every other one at the process that does not run it."""
    sessions = sessions_of(person, count)
    with ThreadPoolExecutor(threads) as pool, webs[0].client(person.token) as here:
        with webs[1].client(person.token) as there:
            runs = [pool.submit(cancelled, here, (here, there)[n % 2], each) for n, each in enumerate(sessions)]
            return [run.result() for run in runs]


def connections(webs, provider):
    """How many the web processes have open, by whom they lead to."""
    ports = {settings.DATABASES["default"]["PORT"]: "postgres", urlsplit(settings.REDIS_URL).port: "redis"}
    ports = {int(port): name for port, name in ports.items() if port} | {provider.port: "provider"}
    held = Counter(dict.fromkeys(ports.values(), 0))
    for web in webs:
        for each in psutil.Process(web.process.pid).net_connections("tcp"):
            if each.status == psutil.CONN_ESTABLISHED and each.raddr and each.raddr.port in ports:
                held[ports[each.raddr.port]] += 1
    return dict(held)


def backends():
    """What PostgreSQL itself says."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'web' AND datname = current_database()"
        )
        return cursor.fetchone()[0]


def held(webs, provider):
    return {**connections(webs, provider), "backends": backends()}


def test_three_hundred_cancels_leave_no_connection_and_bill_what_came(webs, provider, script):
    script.reply = Reply(chunks=("Twelve chars", "never sent"), fault="stall", fault_after=1)
    alice = make_person("alice", credits="100")
    cancel_many(webs, alice, WARM_UP, threads=WARM_UP_THREADS)
    before = held(webs, provider)
    provider.journal.clear()
    streams = cancel_many(webs, alice, CANCELS)
    for events in streams:
        assert [name for _, name, _ in events] == [
            "turn_started", "agent_started", "chunk", "agent_finished", "done",
        ]  # fmt: skip
        assert (events[2][2]["delta"], events[-1][2]["status"]) == ("Twelve chars", "cancelled")
        assert events[-1][2]["credits_charged"] == "0.00144000"
    # Nobody is asked after a cancel: neither ben, nor ann once more.
    assert len(provider.journal) == CANCELS
    # Each call's connection was closed, for its answer was not read to the end.
    assert provider.wait_for(lambda: provider.open_connections == 0)
    after = held(webs, provider)
    print(f"before {before}, after {after}")
    for name, count in before.items():
        # A pool may still grow by one in each process; what leaks, leaks more in so many cancels.
        assert after[name] <= count + WEB_PROCESSES, name
    assert_billed(alice, CANCELS + WARM_UP)
    script.reply = Reply(chunks=("Well.",), usage={"prompt_tokens": 100, "completion_tokens": 65})
    with webs[0].client(alice.token) as client:
        turn = client.post(f"/sessions/{make_session(alice, 'ann')}/turns", json={"message": "hi"}).json()
    assert (turn["status"], turn["usage"]["credits_charged"]) == ("completed", "0.02000000")


def assert_billed(person, count):
    turns = Turn.objects.filter(user_id=person.id)
    assert Counter(turns.values_list("status", flat=True)) == {"cancelled": count}
    calls = LLMCallEvent.objects.filter(user_id=person.id)
    assert Counter(calls.values_list("status", "usage_source")) == {("cancelled", "estimated"): count}
    entries = CreditTransaction.objects.filter(user_id=person.id, kind="debit")
    assert (entries.count(), set(entries.values_list("amount", flat=True))) == (count, {-PRICE})
    wallet = CreditWallet.objects.get(user_id=person.id)
    assert (wallet.balance, wallet.held) == (100 - count * PRICE, 0)


def test_cancels_before_any_text_leave_no_connection_and_no_bill(webs, provider, script):
    script.reply = Reply(fault="hang")
    bob = make_person("bob", credits="100")
    provider.journal.clear()
    with webs[0].client(bob.token) as client:
        for number, session in enumerate(sessions_of(bob, CANCELS_BEFORE_TEXT)):
            with client.stream("POST", f"/sessions/{session}/turns/stream", json={"message": "hi"}) as answer:
                pieces = answer.iter_text()
                text = next(pieces)
                # From before the connection to after the request.
                time.sleep(number % 8 * 0.001)
                assert client.post(f"/turns/{sse(text)[0][2]['turn_id']}/cancel").status_code in {200, 202}
                events = sse(text + "".join(pieces))
            assert (events[-1][1], events[-1][2]["status"]) == ("done", "cancelled")
    assert provider.wait_for(lambda: provider.open_connections == 0)
    assert len(provider.journal) <= CANCELS_BEFORE_TEXT
    assert CreditTransaction.objects.filter(user_id=bob.id, kind="debit").count() == 0
    wallet = CreditWallet.objects.get(user_id=bob.id)
    assert (wallet.balance, wallet.held) == (100, 0)

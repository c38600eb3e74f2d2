"""Many streams at once on one web process, each with a text of its own; client, server and provider are processes.

`TALLYROOM_STREAMS=1000` opens a thousand of them; the suite has the time for fewer.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import psutil
import pytest
from django.core.management import call_command
from django.db.models import Sum

from billing.models import CreditTransaction, CreditWallet, LLMCallEvent
from sessions_app import services
from sessions_app.models import Message, Session, Turn
from sessions_app.tests.e2e.servers import ROOT, web_processes
from sessions_app.tests.makers import Person, make_person, make_session
from sessions_app.tests.scripted_provider import numbered_chunks

pytestmark = [pytest.mark.long, pytest.mark.server, pytest.mark.usefixtures("committed"), pytest.mark.timeout(600)]

# Files that a process may open: each stream is two connections of the web process. Where few are allowed, few are
# opened.
FILES_PER_STREAM, FILES_FOR_THE_REST = 4, 256
HARD_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
FILES_MAX = 1_048_576 if HARD_LIMIT == resource.RLIM_INFINITY else HARD_LIMIT
STREAMS = min(int(os.environ.get("TALLYROOM_STREAMS", "200")), (FILES_MAX - FILES_FOR_THE_REST) // FILES_PER_STREAM)
SESSIONS_EACH = 25
CHUNKS = 200
# Slow enough for most chunks to become events of their own: where the process falls behind, it sends several as one.
CHUNKS_PER_S = 2_500
DELAY_S = STREAMS / CHUNKS_PER_S
FILES_MIN = FILES_PER_STREAM * STREAMS + FILES_FOR_THE_REST
# Enough for the holds of that many calls at once.
CREDITS = "100"
# (0.35 x 12 + 5) x 2 / 10000
PRICE = Decimal("0.00184")
# Far more than a stream with 200 events needs; a leak of whole answers or buffers would pass it.
BYTES_PER_STREAM_MAX = 4 * 1024 * 1024


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """For this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES_MIN), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def provider_process() -> Iterator[str]:
    """The scripted provider as a process; gives its base URL. It begins to answer once all streams have asked."""
    command = [
        sys.executable, "-m", "sessions_app.tests.scripted_provider",
        "--chunks", str(CHUNKS), "--delay", str(DELAY_S), "--at-once", str(STREAMS),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


def jobs_of(people: list[Person]) -> list[dict[str, str]]:
    jobs = []
    for person in people:
        first = Session.objects.select_related("room").get(pk=make_session(person, "solo"))
        sessions = [first, *(services.open_room_session(first.room) for _ in range(SESSIONS_EACH - 1))]
        jobs += [{"session_id": str(session.id), "token": person.token} for session in sessions]
    # Of different lengths, and with characters of one to four bytes.
    return [{**job, "message": f"{'né€😀'[: n % 5]}{n}\u2028"} for n, job in enumerate(jobs[:STREAMS])]


def watched(jobs: list[dict[str, str]], port: int, memory: psutil.Process) -> tuple[list[dict], int]:
    """What the client saw, and the web process's bytes when every stream was open."""
    command = [sys.executable, "-m", "sessions_app.tests.e2e.stream_client", str(port)]
    client = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdin is not None
    assert client.stdout is not None
    with client:
        client.stdin.write("".join(f"{json.dumps(job)}\n" for job in jobs))
        client.stdin.close()
        said = client.stdout.readline()
        open_bytes = memory.memory_info().rss
        results = [json.loads(line) for line in client.stdout]
    assert (said, client.returncode) == ("open\n", 0)
    return results, open_bytes


def test_every_stream_carries_its_own_text_whole_and_ends_after_its_commit(committed):
    people = [make_person(f"alice{n}", credits=CREDITS) for n in range(-(-STREAMS // SESSIONS_EACH))]
    jobs = jobs_of(people)
    environment = {"LLM_API_KEY": "k", "LLM_READ_TIMEOUT_S": "60"}
    with provider_process() as base_url, web_processes(1, LLM_BASE_URL=base_url, **environment) as (web,):
        memory = psutil.Process(web.process.pid)
        before_bytes = memory.memory_info().rss
        started_at = time.monotonic()
        results, open_bytes = watched(jobs, web.port, memory)
        took_s = time.monotonic() - started_at
        after_bytes = memory.memory_info().rss
    for job, result in zip(jobs, results, strict=True):
        text = "".join(numbered_chunks(job["message"], CHUNKS))
        assert result["text"].encode() == text.encode()
        assert result["ids"] == list(range(1, len(result["ids"]) + 1))
        assert result["names"][:2] == ["turn_started", "agent_started"]
        assert set(result["names"][2:-2]) == {"chunk"}
        assert result["names"][-2:] == ["agent_finished", "done"]
        assert result["closed"]
        stored = result["stored"]
        assert (stored["status"], stored["messages"][1]["content"]) == ("completed", text)
        assert stored["balance_after"] == result["end"]["balance_after"]
    texts = {result["end"]["turn_id"]: result["text"] for result in results}
    assert {str(id_): text for id_, text in answers()} == texts
    assert_billed_once_each(people)
    call_command("check_ledger")
    # Shown with `pytest -rP`.
    events = sum(len(result["ids"]) for result in results)
    print(f"{STREAMS} streams, {events} events, {took_s:.1f} s from the first post to the last end")
    for when, now_bytes in (("once all were open", open_bytes), ("at the end", after_bytes)):
        print(f"{(now_bytes - before_bytes) // STREAMS} bytes of the web process a stream {when}")
    assert max(open_bytes, after_bytes) - before_bytes < BYTES_PER_STREAM_MAX * STREAMS


def answers():
    return Message.objects.filter(role="assistant").values_list("turn_id", "content")


def assert_billed_once_each(people: list[Person]) -> None:
    assert Turn.objects.filter(status="completed").count() == Turn.objects.count() == STREAMS
    assert LLMCallEvent.objects.count() == STREAMS
    debits = CreditTransaction.objects.filter(kind="debit")
    assert (debits.count(), debits.aggregate(sum=Sum("amount"))["sum"]) == (STREAMS, -PRICE * STREAMS)
    wallets = CreditWallet.objects.filter(user_id__in=[person.id for person in people])
    assert wallets.aggregate(balance=Sum("balance"), held=Sum("held")) == {
        "balance": len(people) * Decimal(CREDITS) - PRICE * STREAMS,
        "held": 0,
    }

"""Uploads and downloads hold up nobody: neither the event loop nor the few connections to the database."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from files.tests.makers import make_room
from sessions_app.tests.e2e.servers import web_processes
from sessions_app.tests.makers import make_person

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
UPLOADS = 6


def test_health_answers_while_large_files_arrive_and_leave(web):
    alice = make_person("alice")
    room = make_room(alice)
    waits = []

    def moved(number):
        with web.client(alice.token) as client:
            data = b"%d" % number + b"x" * 20_000_000
            file = client.post(f"/rooms/{room}/files", files={"file": ("big.txt", data)}).json()
            assert client.get(f"/files/{file['id']}/content").content == data

    with ThreadPoolExecutor(UPLOADS) as threads, web.client() as client:
        moving = [threads.submit(moved, number) for number in range(UPLOADS)]
        while not all(one.done() for one in moving):
            started = time.monotonic()
            assert client.get("/health/live").status_code == 200
            waits.append(time.monotonic() - started)
            time.sleep(0.01)
        for one in moving:
            one.result()
    waits.sort()
    assert waits[len(waits) // 2] < 0.5


def test_readers_that_stop_reading_hold_no_connection_to_the_database(committed, stored):
    alice = make_person("alice")
    room = make_room(alice)
    small_pool = {"STORAGE_ROOT": str(stored), "DATABASE_POOL_SIZE": "2", "FILE_MAX_BYTES": "30000000"}
    with web_processes(1, **small_pool) as (web,), web.client(alice.token) as client:
        file = client.post(f"/rooms/{room}/files", files={"file": ("big.txt", b"x" * 25_000_000)}).json()
        with ExitStack() as reading:
            for _ in range(5):
                slow = reading.enter_context(web.client(alice.token))
                answer = reading.enter_context(slow.stream("GET", f"/files/{file['id']}/content"))
                # So much is in buffers; the rest waits for us.
                assert next(answer.iter_raw(1_000))
            assert client.get("/rooms").status_code == 200
            assert client.get(f"/files/{file['id']}").json()["size_bytes"] == 25_000_000

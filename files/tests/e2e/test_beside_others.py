"""Uploads hold up nobody: a slow storage costs the threads of its own requests, and not the event loop."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from files.tests.makers import make_room
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

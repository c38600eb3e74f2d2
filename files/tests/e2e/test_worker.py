"""A real worker parses uploads; killed in the middle it leaves them to the next, and no child behind."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager

import psutil
import pytest

from files.models import FilePassage, UploadedFile
from files.tests import samples
from files.tests.makers import make_room
from sessions_app.tests.e2e.processes import start_worker
from sessions_app.tests.makers import make_person

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
BEAT = ("--beat", "--scheduler", "celery.beat:Scheduler")
# Some seconds of work for a parser, and one line of text.
SLOW = b"<html>" + b"<b></b>" * 250_000 + b"<p>The end."


@contextmanager
def worker(web, *beat):
    quiet = ("--loglevel", "WARNING", "--without-mingle", "--without-gossip")
    process = start_worker({**web.environment, "DRAIN_TIMEOUT_S": "1"}, *quiet, *beat, threads=2)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def uploaded(web, alice, data, name="a.txt"):
    with web.client(alice.token) as client:
        answer = client.post(f"/rooms/{make_room(alice)}/files", files={"file": (name, data)})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def status_of(file_id):
    return UploadedFile.objects.get(id=file_id).parse_status


def has_ended(process):
    """Or nobody has looked after it yet: its parent is dead."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def children_of(process):
    return [child for child in psutil.Process(process.pid).children() if "files.parsing.child" in child.cmdline()]


def test_a_worker_is_told_of_an_upload_at_once(web):
    alice = make_person("alice")
    with worker(web):
        file_id = uploaded(web, alice, samples.pdf("Hello"), "a.pdf")
        wait_for(lambda: status_of(file_id) == "completed")
    assert FilePassage.objects.get(file_id=file_id).text == "Hello\n\n"


def test_an_upload_that_nobody_was_told_of_is_found_by_the_beat(web):
    alice = make_person("alice")
    file_id = uploaded(web, alice, b"Hello")
    # As if the broker had lost the message.
    from config.celery import app

    app.control.purge()
    with worker(web, *BEAT):
        wait_for(lambda: status_of(file_id) == "completed")


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_file_whose_worker_is_killed_is_parsed_once_by_the_next(web):
    alice = make_person("alice")
    with worker(web) as victim:
        file_id = uploaded(web, alice, SLOW, "slow.html")
        wait_for(lambda: children_of(victim))
        [child] = children_of(victim)
        assert status_of(file_id) == "processing"
        victim.kill()
        victim.wait()
    # The child does not go on alone.
    wait_for(lambda: has_ended(child), 5)
    assert not FilePassage.objects.filter(file_id=file_id).exists()
    with worker(web, *BEAT):
        other = uploaded(web, alice, b"meanwhile")
        wait_for(lambda: status_of(other) == "completed")
        assert status_of(file_id) == "processing"
        wait_for(lambda: status_of(file_id) == "completed", 90)
    file = UploadedFile.objects.get(id=file_id)
    assert (file.attempts, file.characters, file.is_truncated) == (2, 9, False)
    assert [passage.text for passage in FilePassage.objects.filter(file_id=file_id)] == ["The end.\n"]


def test_a_worker_that_is_stopped_ends_its_file_first(web):
    alice = make_person("alice")
    with worker(web) as stopped:
        file_id = uploaded(web, alice, SLOW + b" ", "slow.html")
        wait_for(lambda: children_of(stopped))
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait(timeout=30) == 0
    file = UploadedFile.objects.get(id=file_id)
    assert (file.parse_status, file.attempts) == ("completed", 1)

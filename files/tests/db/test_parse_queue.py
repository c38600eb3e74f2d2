"""Claims and what comes of them: parsed once, whoever dies or comes back."""

from __future__ import annotations

import shutil
import threading
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from files import announcing, parse_queue, parse_work, services, storage
from files.errors import StorageUnavailable
from files.models import FilePassage, UploadedFile
from files.parse_queue import ATTEMPTS_MAX, LEASE_GRACE_S, UNAVAILABLE_MAX_S, UNAVAILABLE_PAUSE_S
from files.parse_work import STORAGE_FAILURES_MAX
from files.parsing.outcome import Parsed, ParseFailed, ParserDied
from files.tasks import parse_uploads
from files.tests.makers import folder_of, make_room, upload
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def file():
    alice = make_person("alice")
    return UploadedFile.objects.get(id=upload(alice, make_room(alice), b"Hello").json()["id"])


def let_the_lease_end(settings):
    lost = timedelta(seconds=settings.FILE_PARSE_TIMEOUT_S + LEASE_GRACE_S + 1)
    UploadedFile.objects.update(claimed_at=Now() - lost)


def let_the_pause_end():
    UploadedFile.objects.update(claimed_at=Now() - timedelta(seconds=UNAVAILABLE_PAUSE_S + 1))


def state(file):
    return UploadedFile.objects.values_list("parse_status", "parse_error_code", "attempts").get(id=file.id)


def test_a_file_is_claimed_by_one(file):
    job = parse_queue.claim()
    assert (job.file_id, job.kind, job.storage_key, job.attempt) == (file.id, "txt", file.storage_key, 1)
    assert state(file) == ("processing", "", 1)
    assert parse_queue.claim() is None
    assert not parse_queue.has_due()


def test_what_is_parsed_already_is_not_parsed_again_by_a_task_that_comes_twice(file):
    assert parse_uploads() == 1
    before = list(FilePassage.objects.values_list("id", "text"))
    assert parse_uploads() == 0
    assert list(FilePassage.objects.values_list("id", "text")) == before
    assert state(file) == ("completed", "", 1)


def test_who_comes_back_after_its_lease_writes_nothing(file, settings):
    late = parse_queue.claim()
    let_the_lease_end(settings)
    assert parse_queue.has_due()
    second = parse_queue.claim()
    assert second.attempt == 2
    assert parse_queue.completed(late, Parsed("late", False)) is False
    assert parse_queue.failed(late, ParseFailed("malformed", "Late.")) is False
    parse_queue.given_back(late)
    assert state(file) == ("processing", "", 2)
    assert not FilePassage.objects.exists()
    assert parse_queue.completed(second, Parsed("text", False)) is True
    assert state(file) == ("completed", "", 2)
    assert FilePassage.objects.get().text == "text"


def test_a_file_whose_workers_die_is_given_up_after_the_last_attempt(file, settings):
    for attempt in range(1, ATTEMPTS_MAX + 1):
        assert parse_queue.give_up() == 0
        assert parse_queue.claim().attempt == attempt
        let_the_lease_end(settings)
    assert parse_queue.claim() is None
    assert not parse_queue.has_due()
    assert parse_uploads() == 0
    assert state(file) == ("failed", "parser_died", ATTEMPTS_MAX)
    shown = UploadedFile.objects.get(id=file.id).parse_error
    assert shown == "Reading this file failed several times, for a reason that is not known."
    assert parse_queue.give_up() == 0


def test_a_child_that_dies_is_tried_again_when_the_lease_has_ended_and_then_given_up(file, settings, monkeypatch):
    def died(*_, **__):
        raise ParserDied("exit code -9")

    monkeypatch.setattr(parse_work, "parse_apart", died)
    for attempt in range(1, ATTEMPTS_MAX):
        assert parse_uploads() == 1
        assert state(file) == ("processing", "", attempt)
        assert parse_uploads() == 0
        let_the_lease_end(settings)
    assert parse_uploads() == 1
    assert state(file) == ("failed", "parser_died", ATTEMPTS_MAX)


def test_a_storage_that_is_away_costs_no_attempt(file, monkeypatch):
    def away(_):
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(storage, "opened", away)
        assert parse_uploads() == 1
    assert state(file) == ("pending", "", 0)
    # Not at once.
    assert parse_uploads() == 0
    let_the_pause_end()
    assert parse_uploads() == 1
    assert state(file) == ("completed", "", 1)
    assert UploadedFile.objects.get(id=file.id).unavailable_since is None


def test_one_file_that_the_storage_refuses_keeps_no_other_waiting_and_is_given_up_after_a_day(file, monkeypatch):
    alice = make_person("alice")
    others = [upload(alice, make_room(alice), b"Other %d" % n).json()["id"] for n in range(2)]
    opened = storage.opened

    def refused(key):
        if key == file.storage_key:
            raise StorageUnavailable
        return opened(key)

    monkeypatch.setattr(storage, "opened", refused)
    assert parse_uploads() == 3
    assert state(file) == ("pending", "", 0)
    assert {f.parse_status for f in UploadedFile.objects.filter(id__in=others)} == {"completed"}
    UploadedFile.objects.filter(id=file.id).update(unavailable_since=Now() - timedelta(seconds=UNAVAILABLE_MAX_S + 1))
    assert parse_uploads() == 0
    assert state(file) == ("failed", "storage_unavailable", 0)


def test_a_storage_that_is_away_is_not_asked_for_every_file_that_waits(file, monkeypatch):
    alice = make_person("alice")
    for number in range(10):
        upload(alice, make_room(alice), b"Other %d" % number)

    def away(_):
        raise StorageUnavailable

    monkeypatch.setattr(storage, "opened", away)
    assert parse_uploads() == STORAGE_FAILURES_MAX
    assert set(UploadedFile.objects.values_list("parse_status", "attempts")) == {("pending", 0)}


def test_bytes_that_are_not_those_that_were_stored_are_not_read(file):
    folder_of(file.storage_key).write_bytes(b"Hell")
    assert parse_uploads() == 1
    assert state(file) == ("pending", "", 0)
    assert not FilePassage.objects.exists()


def test_a_folder_that_is_not_mounted_ends_no_file(file):
    """Empty, as the place where something is mounted is when nothing is."""
    shutil.rmtree(folder_of("."))
    folder_of(".").mkdir()
    assert parse_uploads() == 1
    assert state(file) == ("pending", "", 0)


def test_who_has_few_files_in_work_is_next(file):
    ann, ben = make_person("ann"), make_person("ben")
    many = [upload(ann, make_room(ann), b"Ann %d" % n).json()["id"] for n in range(3)]
    [one] = [upload(ben, make_room(ben), b"Ben").json()["id"]]
    order = [str(parse_queue.claim().file_id) for _ in range(5)]
    assert order == [str(file.id), many[0], one, many[1], many[2]]


def test_a_worker_that_is_to_stop_begins_no_further_file(file, monkeypatch):
    alice = make_person("alice")
    upload(alice, make_room(alice), b"Second")
    parsed = parse_work.parse_apart

    def told_to_stop(*args, **kwargs):
        parse_work.stop()
        return parsed(*args, **kwargs)

    monkeypatch.setattr(parse_work, "_is_stopping", threading.Event())
    monkeypatch.setattr(parse_work, "parse_apart", told_to_stop)
    assert parse_uploads() == 1
    assert sorted(UploadedFile.objects.values_list("parse_status", flat=True)) == ["completed", "pending"]


def test_a_file_that_is_deleted_while_it_is_parsed_gets_no_text(file):
    job = parse_queue.claim()
    services.delete(user_id=file.user_id, file_id=file.id)
    assert parse_queue.completed(job, Parsed("text", False)) is False
    assert not FilePassage.objects.exists()


def test_all_that_is_due_is_parsed_in_order_of_arrival(file):
    alice = make_person("alice")
    upload(alice, make_room(alice), b"[1, 2", "a.json")
    assert parse_uploads() == 2
    assert set(UploadedFile.objects.values_list("kind", "parse_status")) == {("txt", "completed")}


def test_no_slot_no_work(file):
    slots = parse_work._slots()
    taken = 0
    while slots.acquire(blocking=False):
        taken += 1
    try:
        assert parse_uploads() == 0
        assert state(file) == ("pending", "", 0)
    finally:
        for _ in range(taken):
            slots.release()
    assert parse_uploads() == 1


def test_a_broker_that_is_away_fails_no_upload(settings, monkeypatch, django_capture_on_commit_callbacks):
    sent = []

    def refused(**options):
        sent.append(options)
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr("files.tasks.parse_uploads.apply_async", refused)
    alice = make_person("alice")
    with django_capture_on_commit_callbacks(execute=True):
        answer = upload(alice, make_room(alice), b"Hello")
    announcing._thread().submit(lambda: None).result()
    assert answer.status_code == 201
    assert sent == [{"retry": False, "ignore_result": True, "expires": 60}]
    assert parse_uploads() == 1

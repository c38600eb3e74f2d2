"""Equal bytes stored and deleted at the same moment, and one file wanted by many."""

from __future__ import annotations

import pytest

from config.core.tests.racing import at_once
from files import parse_work, services, storage
from files.models import FilePassage, UploadedFile
from files.receiving import ReceivedFile
from files.tasks import parse_uploads
from files.tests.makers import make_room, stored_keys
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice():
    return make_person("alice")


def received(data, name="a.txt"):
    file = ReceivedFile(name)
    file.add(data)
    file.judge()
    return file


def upload(alice, room, data=b"Hello"):
    return services.upload(user_id=alice.id, room_id=room, received=received(data))


def uploading(alice, room):
    return lambda: upload(alice, room)


def deleting(alice, file):
    return lambda: services.delete(user_id=alice.id, file_id=file.id)


def test_ten_equal_uploads_at_once_are_ten_rows_and_one_object(alice):
    room = make_room(alice)
    results = at_once(*[uploading(alice, room)] * 10)
    assert [result for result in results if isinstance(result, Exception)] == []
    assert UploadedFile.objects.count() == 10
    assert stored_keys() == [results[0].storage_key]


@pytest.mark.parametrize("round_", range(5))
def test_an_upload_beside_the_deletion_of_its_equal_has_its_bytes(alice, round_):
    room = make_room(alice)
    old = upload(alice, room)
    results = at_once(deleting(alice, old), uploading(alice, room), uploading(alice, room))
    assert [result for result in results if isinstance(result, Exception)] == []
    assert UploadedFile.objects.count() == 2
    assert stored_keys() == [old.storage_key]
    assert storage.opened(old.storage_key).read() == b"Hello"


def test_an_object_that_goes_between_storing_and_naming_it_is_stored_again(alice, monkeypatch):
    room = make_room(alice)
    put, stored = storage.put, []

    def put_and_lose(key, content):
        put(key, content)
        stored.append(key)
        if len(stored) == 1:
            assert storage.release(key)

    monkeypatch.setattr(storage, "put", put_and_lose)
    file = upload(alice, room)
    assert stored == [file.storage_key] * 2
    assert storage.opened(file.storage_key).read() == b"Hello"


def test_all_deleted_at_once_leaves_nothing(alice):
    room = make_room(alice)
    files = [upload(alice, room) for _ in range(6)]
    results = at_once(*[deleting(alice, file) for file in files])
    assert results == [None] * 6
    assert stored_keys() == []
    assert not UploadedFile.objects.exists()


def test_a_file_deleted_twice_at_once_is_deleted_once(alice):
    file = upload(alice, make_room(alice))
    results = at_once(*[deleting(alice, file)] * 4)
    assert results.count(None) == 1
    assert {result.code for result in results if result is not None} == {"not_found"}
    assert stored_keys() == []


def test_six_workers_parse_each_file_once(alice, settings, monkeypatch):
    room = make_room(alice)
    parsed, parse = [], parse_work.parse_apart

    def counted(source, **options):
        parsed.append(options["kind"])
        return parse(source, **options)

    monkeypatch.setattr(parse_work, "parse_apart", counted)
    for number in range(8):
        upload(alice, room, b"File %d" % number)
    at_once(*[parse_uploads] * 6)
    parse_uploads()
    assert len(parsed) == 8
    assert set(UploadedFile.objects.values_list("parse_status", "attempts")) == {("completed", 1)}
    assert FilePassage.objects.count() == 8


def test_a_file_deleted_while_its_text_is_written_leaves_no_text(alice):
    room = make_room(alice)
    for _ in range(5):
        file = upload(alice, room)
        results = at_once(parse_uploads, deleting(alice, file))
        assert [result for result in results if isinstance(result, Exception)] == []
        parse_uploads()
    assert not UploadedFile.objects.exists()
    assert not FilePassage.objects.exists()

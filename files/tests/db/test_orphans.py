from __future__ import annotations

import io
import os
import time
from uuid import UUID

import pytest
from django.core.management import call_command

from files import orphans, storage
from files.models import UploadedFile
from files.tasks import remove_orphans
from files.tests.makers import client_of, folder_of, make_room, stored_keys, upload
from sessions_app import services
from sessions_app.models import Room
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db
TWO_DAYS_S = 2 * 86_400


def key_of(number):
    return storage.key_of(user_id=UUID(int=number), sha256=f"{number:064x}")


OLD, NEW = key_of(1), key_of(2)


def age(key):
    then = time.time() - TWO_DAYS_S
    os.utime(folder_of(key), (then, then))


def test_old_objects_without_a_row_go_and_all_others_stay():
    alice = make_person("alice")
    upload(alice, make_room(alice), b"Hello")
    key = UploadedFile.objects.get().storage_key
    for orphan in (OLD, NEW, ".arriving/cut-off", "somebody/elses.txt"):
        storage.put(orphan, io.BytesIO(b"x"))
    for old in (key, OLD, ".arriving/cut-off", "somebody/elses.txt"):
        age(old)
    assert remove_orphans() == 2
    assert stored_keys() == sorted([key, NEW, "somebody/elses.txt"])
    assert remove_orphans() == 0


def test_a_crash_while_storing_leaves_nothing_under_the_key(monkeypatch):
    def crash(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("files.backends.os.fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        storage.put("alice/hash", io.BytesIO(b"x" * 1000))
    assert not storage.has("alice/hash")
    assert stored_keys() == []


def test_an_object_that_a_row_names_is_not_released():
    alice = make_person("alice")
    upload(alice, make_room(alice), b"Hello")
    assert storage.release(UploadedFile.objects.get().storage_key) is False
    assert len(stored_keys()) == 1


def test_a_deletion_while_the_storage_is_away_is_made_up_for_at_night(monkeypatch):
    alice = make_person("alice")
    file = upload(alice, make_room(alice), b"Hello").json()
    key = UploadedFile.objects.get().storage_key

    def away(_):
        raise ConnectionRefusedError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(storage.backend(), "delete", away)
        assert client_of(alice).delete(f"/api/v1/files/{file['id']}").status_code == 204
    assert not UploadedFile.objects.exists()
    assert stored_keys() == [key]
    age(key)
    assert remove_orphans() == 1
    assert stored_keys() == []


def test_where_suddenly_most_objects_have_no_row_somebody_has_to_say_that_they_may_go(monkeypatch, capsys):
    """The database is another one, or an older one."""
    monkeypatch.setattr(orphans, "SUSPICIOUS", 3)
    for number in range(4):
        storage.put(key_of(number), io.BytesIO(b"x"))
        age(key_of(number))
    assert remove_orphans() == 0
    assert len(stored_keys()) == 4
    call_command("remove_orphans")
    assert len(stored_keys()) == 4
    call_command("remove_orphans", "--however-many")
    assert capsys.readouterr().out == "0 objects removed.\n4 objects removed.\n"
    assert stored_keys() == []


def test_files_of_a_deleted_room_go_at_night_and_no_others():
    alice, bob = make_person("alice"), make_person("bob")
    gone, kept, bobs = make_room(alice), make_room(alice), make_room(bob)
    for person, room in ((alice, gone), (alice, kept), (bob, bobs)):
        upload(person, room, b"Hello from %s" % str(room).encode())
    services.delete_room(Room.objects.get(pk=gone))
    remove_orphans()
    assert set(UploadedFile.objects.values_list("room_id", flat=True)) == {kept, bobs}
    assert len(stored_keys()) == 2

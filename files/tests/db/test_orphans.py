from __future__ import annotations

import io
import os
import time

import pytest

from files import storage
from files.models import UploadedFile
from files.tasks import remove_orphans
from files.tests.makers import client_of, folder_of, make_room, stored_keys, upload
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db
TWO_DAYS_S = 2 * 86_400


def age(key):
    then = time.time() - TWO_DAYS_S
    os.utime(folder_of(key), (then, then))


def test_old_objects_without_a_row_go_and_all_others_stay():
    alice = make_person("alice")
    upload(alice, make_room(alice), b"Hello")
    key = UploadedFile.objects.get().storage_key
    for orphan in ("nobody/old", "nobody/new", ".arriving/cut-off"):
        storage.put(orphan, io.BytesIO(b"x"))
    for old in (key, "nobody/old", ".arriving/cut-off"):
        age(old)
    assert remove_orphans() == 2
    assert stored_keys() == sorted([key, "nobody/new"])
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

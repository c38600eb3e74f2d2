"""The same over S3: a server of its own on a socket, and one client for all threads."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from files import backends, orphans, storage
from files.errors import StorageUnavailable
from files.models import FilePassage, UploadedFile
from files.tasks import parse_uploads, remove_orphans
from files.tests.makers import body_of, client_of, make_room, stored_keys, upload
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def options(url, bucket="files"):
    return {
        "endpoint_url": url, "bucket_name": bucket, "region_name": "us-east-1", "access_key": "a", "secret_key": "s",
    }  # fmt: skip


@pytest.fixture
def _s3(server, settings):
    bucket = f"files-{time.monotonic_ns()}"
    chosen = {"BACKEND": "files.backends.S3Storage", "OPTIONS": options(server, bucket)}
    settings.STORAGES = {**settings.STORAGES, "files": chosen}
    storage.backend().client.create_bucket(Bucket=bucket)


@pytest.fixture
def alice():
    return make_person("alice")


@pytest.mark.usefixtures("_s3")
def test_a_file_is_uploaded_read_parsed_and_deleted(alice):
    room, data = make_room(alice), b"Hello from the bucket. " * 20_000
    first, second = upload(alice, room, data).json(), upload(alice, room, data, "b.txt").json()
    assert stored_keys() == [f"{alice.id}/{hashlib.sha256(data).hexdigest()}"]
    assert body_of(client_of(alice).get(f"/api/v1/files/{first['id']}/content")) == data
    assert parse_uploads() == 2
    assert {file.parse_status for file in UploadedFile.objects.all()} == {"completed"}
    assert client_of(alice).delete(f"/api/v1/files/{first['id']}").status_code == 204
    assert len(stored_keys()) == 1
    assert client_of(alice).delete(f"/api/v1/files/{second['id']}").status_code == 204
    assert stored_keys() == []
    assert not FilePassage.objects.exists()


@pytest.mark.usefixtures("_s3")
def test_a_file_larger_than_one_part_arrives_whole(alice):
    data = b"0123456789abcdef" * 600_000
    file = upload(alice, make_room(alice), data).json()
    assert file["size_bytes"] == 9_600_000
    assert (
        hashlib.sha256(body_of(client_of(alice).get(f"/api/v1/files/{file['id']}/content"))).hexdigest()
        == file["sha256"]
    )


@pytest.mark.usefixtures("_s3")
def test_bytes_that_vanished_are_not_found(alice):
    file = upload(alice, make_room(alice), b"Hello").json()
    storage.backend().delete(stored_keys()[0])
    assert client_of(alice).get(f"/api/v1/files/{file['id']}/content").status_code == 404
    parse_uploads()
    row = UploadedFile.objects.get()
    assert (row.parse_status, row.parse_error_code) == ("failed", "not_found")


@pytest.mark.usefixtures("_s3")
def test_old_objects_without_a_row_go(alice, monkeypatch):
    upload(alice, make_room(alice), b"Hello")
    with Path(__file__).open("rb") as source:
        storage.put(storage.key_of(user_id=alice.id, sha256="0" * 64), source)
    assert remove_orphans() == 0
    monkeypatch.setattr(orphans.timezone, "now", lambda: datetime.now(UTC) + timedelta(days=2))
    assert remove_orphans() == 1
    assert stored_keys() == [UploadedFile.objects.get().storage_key]


@pytest.mark.usefixtures("_s3")
def test_one_client_serves_all_threads(monkeypatch):
    made, session = [], backends.Session

    class Counted(session):
        def client(self, *args, **kwargs):
            made.append(args)
            return super().client(*args, **kwargs)

    bucket = storage.backend().bucket_name
    monkeypatch.setattr(backends, "Session", Counted)
    fresh = backends.S3Storage(**options(storage.backend().endpoint_url, bucket))
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda number: fresh.exists(f"none/{number}"), range(64))) == {False}
        assert set(threads.map(lambda number: fresh.client is fresh.client, range(64))) == {True}
    # One for bytes, and one for what is asked under a lock.
    assert made == [("s3",)] * 2


def test_a_bucket_that_is_not_there_or_a_server_that_is_away_is_503_and_leaves_no_row(alice, server, settings):
    for url in (server, "http://127.0.0.1:9"):
        chosen = {"BACKEND": "files.backends.S3Storage", "OPTIONS": options(url, "no-such-bucket")}
        settings.STORAGES = {**settings.STORAGES, "files": chosen}
        answer = upload(alice, make_room(alice), b"Hello")
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
        with pytest.raises(StorageUnavailable), Path(__file__).open("rb") as source:
            storage.put("a/b", source)
    assert not UploadedFile.objects.exists()


class HalfAnObject(BaseHTTPRequestHandler):
    """Declares a thousand bytes of every object, sends ten and hangs up."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(b"0123456789")
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def halving():
    with ThreadingHTTPServer(("127.0.0.1", 0), HalfAnObject) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_an_object_that_breaks_off_is_not_taken_for_the_whole_of_it(alice, halving, settings):
    row = UploadedFile.objects.get(id=upload(alice, make_room(alice), b"0123456789" * 100).json()["id"])
    settings.STORAGES = {
        **settings.STORAGES, "files": {"BACKEND": "files.backends.S3Storage", "OPTIONS": options(halving)},
    }  # fmt: skip
    assert parse_uploads() == 1
    row.refresh_from_db()
    assert (row.parse_status, row.attempts) == ("pending", 0)
    assert not FilePassage.objects.exists()
    answer = client_of(alice).get(f"/api/v1/files/{row.id}/content")
    with pytest.raises(OSError, match="10 read"):
        body_of(answer)


def test_what_is_asked_under_a_lock_gives_up_before_the_database_does(settings):
    brief = backends.S3Storage(**options("http://127.0.0.1:9")).brief_client.meta.config
    longest_s = (brief.connect_timeout + brief.read_timeout) * brief.retries["total_max_attempts"]
    assert longest_s * 1000 < settings.DATABASE_IDLE_IN_TRANSACTION_MS

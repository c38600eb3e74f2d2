"""Uploads over a real socket: limits that bite while reading, uploads that never end, and bytes that come back."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time

import httpx
import psutil
import pytest

from files.models import UploadedFile
from files.tests.e2e.conftest import FILE_MAX_BYTES
from files.tests.makers import make_room, multipart
from sessions_app.tests.makers import make_person

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
TYPE = "multipart/form-data; boundary=xyz"


@pytest.fixture
def alice(committed):
    return make_person("alice")


@pytest.fixture
def room(alice):
    return make_room(alice)


def objects(stored):
    return sorted(path.relative_to(stored).as_posix() for path in stored.rglob("*") if path.is_file())


def assert_nothing(alice, stored):
    assert not UploadedFile.objects.filter(user_id=alice.id).exists()
    assert [key for key in objects(stored) if key.startswith((str(alice.id), ".arriving"))] == []


def head(web, alice, room, *headers):
    lines = [
        f"POST /api/v1/rooms/{room}/files HTTP/1.1", f"Host: 127.0.0.1:{web.port}",
        f"Authorization: Bearer {alice.token}", f"Content-Type: {TYPE}", *headers, "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def answered(sock):
    """Status and document of an answer, however much of the request was left unsent."""
    data = b""
    while b"\r\n\r\n" not in data or not data.rstrip().endswith(b"}"):
        chunk = sock.recv(65_536)
        if not chunk:
            break
        data += chunk
    lines, _, body = data.partition(b"\r\n\r\n")
    return int(lines.split()[1]), json.loads(body)


def test_ten_declared_gigabytes_are_refused_before_one_of_them_is_read(web, alice, room, stored):
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as sock:
        started = time.monotonic()
        sock.sendall(head(web, alice, room, "Content-Length: 10737418240"))
        status, document = answered(sock)
        assert time.monotonic() - started < 2
    assert (status, document["code"], document["limit_bytes"]) == (413, "file_too_large", FILE_MAX_BYTES)
    assert_nothing(alice, stored)


def test_an_undeclared_length_is_refused_as_soon_as_it_is_too_much(web, alice, room, stored):
    chunk = b"x" * 1_000_000
    sent = 0
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as sock:
        sock.sendall(head(web, alice, room, "Transfer-Encoding: chunked"))
        try:
            while sent < 500:
                sock.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                sent += 1
        except OSError:
            pass
    assert 30 <= sent < 100
    with web.client(alice.token) as client:
        answer = client.post(
            f"/rooms/{room}/files", content=iter([chunk] * 31), headers={"Content-Type": TYPE}
        )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    assert_nothing(alice, stored)


def test_an_undeclared_length_within_the_limit_is_taken(web, alice, room, stored):
    body = multipart(b"Hello, chunks. " * 100_000, "a.txt")
    pieces = iter([body[at : at + 100_000] for at in range(0, len(body), 100_000)])
    with web.client(alice.token) as client:
        answer = client.post(f"/rooms/{room}/files", content=pieces, headers={"Content-Type": TYPE})
        assert (answer.status_code, answer.json()["size_bytes"]) == (201, 1_500_000), answer.text
    assert f"{alice.id}/{answer.json()['sha256']}" in objects(stored)


def test_an_upload_whose_client_goes_away_leaves_nothing(web, alice, room, stored):
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as sock:
        sock.sendall(
            head(web, alice, room, "Content-Length: 5000000") + multipart(b"x" * 2_000_000, "a.txt")[:1_000_000]
        )
        time.sleep(0.3)
    time.sleep(0.5)
    assert_nothing(alice, stored)
    with web.client() as client:
        assert client.get("/health/live").status_code == 200


def test_other_bodies_keep_their_own_limit(web, alice, room):
    with web.client(alice.token) as client:
        answer = client.post("/rooms", json={"name": "x" * 1_100_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


def test_large_files_go_through_without_being_held_in_memory(web, alice, room):
    data = b"0123456789abcdef" * (FILE_MAX_BYTES // 16)
    process = psutil.Process(web.process.pid)
    with web.client(alice.token) as client:
        # What the first upload imports and allocates stays.
        client.post(f"/rooms/{room}/files", files={"file": ("w.txt", b"warm")})
        before, most, is_over = process.memory_info().rss, [0], threading.Event()

        def watch():
            while not is_over.wait(0.005):
                most[0] = max(most[0], process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        file = client.post(f"/rooms/{room}/files", files={"file": ("big.txt", data)}).json()
        content = client.get(f"/files/{file['id']}/content")
        is_over.set()
        watcher.join()
    assert file["size_bytes"] == len(data)
    assert hashlib.sha256(content.content).hexdigest() == file["sha256"]
    assert content.headers["content-length"] == str(len(data))
    assert most[0] - before < 15_000_000


def test_a_reader_that_goes_away_leaves_no_open_file(web, alice, room):
    process = psutil.Process(web.process.pid)
    # Else all of it may be on its way before we look: a kernel takes 32 MB for who does not read.
    narrow = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)])
    with web.client(alice.token, transport=narrow) as client:
        file = client.post(f"/rooms/{room}/files", files={"file": ("big.txt", b"x" * 20_000_000)}).json()

        def open_objects():
            return [one.path for one in process.open_files() if file["sha256"] in one.path]

        with client.stream("GET", f"/files/{file['id']}/content") as response:
            # Kept: the end of the iterator would be the end of the connection.
            pieces = response.iter_bytes(1000)
            next(pieces)
            assert len(open_objects()) == 1
        deadline = time.monotonic() + 5
        while open_objects():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_bob_cannot_read_what_alice_sent(web, alice, room):
    bob = make_person("bob")
    with web.client(alice.token) as client, web.client(bob.token) as bobs:
        file = client.post(f"/rooms/{room}/files", files={"file": ("a.txt", b"Hello")}).json()
        absent = bobs.get(f"/files/{room}/content").json()
        for answer in (bobs.get(f"/files/{file['id']}/content"), bobs.delete(f"/files/{file['id']}")):
            assert (answer.status_code, answer.json()) == (404, absent)
        assert client.get(f"/files/{file['id']}/content").content == b"Hello"

"""Uploads over HTTP: what is taken, what is refused and leaves nothing behind, and whose it is."""

from __future__ import annotations

import errno
import hashlib

import pytest
from rest_framework.test import APIClient

from config.core.ids import uuid7
from files import storage
from files.models import FilePassage, UploadedFile
from files.receiving import ReceivedFile
from files.tasks import parse_uploads
from files.tests import samples
from files.tests.makers import (
    body_of,
    client_of,
    folder_of,
    make_room,
    multipart,
    post_raw,
    stored_keys,
    upload,
)
from sessions_app import services
from sessions_app.tests.makers import make_person, make_standalone_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return make_person("alice")


@pytest.fixture
def room(alice):
    return make_room(alice)


def assert_refused(answer, status, code):
    """And nothing is there: no row, no object."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert answer.headers["content-type"] == "application/problem+json"
    assert not UploadedFile.objects.exists()
    assert stored_keys() == []


def test_an_upload_is_stored_under_its_hash_and_waits_to_be_parsed(alice, room):
    answer = upload(alice, room, b"Hello, room.\n", "notes.txt")
    assert answer.status_code == 201, answer.content
    file = answer.json()
    sha256 = hashlib.sha256(b"Hello, room.\n").hexdigest()
    assert file == {
        "id": file["id"], "room_id": str(room), "name": "notes.txt", "kind": "txt", "content_type": "text/plain",
        "size_bytes": 13, "sha256": sha256, "parse_status": "pending", "parse_error": None, "parse_error_code": None,
        "characters": 0, "is_truncated": False, "created_at": file["created_at"],
    }  # fmt: skip
    assert stored_keys() == [f"{alice.id}/{sha256}"]
    assert folder_of(stored_keys()[0]).read_bytes() == b"Hello, room.\n"
    assert client_of(alice).get(f"/api/v1/files/{file['id']}").json() == file
    assert client_of(alice).get(f"/api/v1/rooms/{room}/files").json() == {
        "results": [file], "next": None, "previous": None,
    }  # fmt: skip


def test_once_parsed_it_says_how_much_text_there_is(alice, room):
    file = upload(alice, room, "Grüße\n".encode("latin-1")).json()
    assert parse_uploads() == 1
    shown = client_of(alice).get(f"/api/v1/files/{file['id']}").json()
    assert (shown["parse_status"], shown["characters"], shown["parse_error"]) == ("completed", 6, None)
    assert FilePassage.objects.get().text == "Grüße\n"


def test_a_file_that_cannot_be_parsed_says_why(alice, room):
    file = upload(alice, room, samples.pdf("x", count=1_000_000), "a.pdf").json()
    parse_uploads()
    shown = client_of(alice).get(f"/api/v1/files/{file['id']}").json()
    assert (shown["parse_status"], shown["parse_error_code"], shown["parse_error"]) == (
        "failed", "too_many_pages", "A PDF may have 5,000 pages; this one has 1,000,000.",
    )  # fmt: skip
    assert not FilePassage.objects.exists()


def test_the_bytes_come_back_as_an_attachment_that_no_browser_runs(alice, room):
    page = b"<!doctype html><script>alert(1)</script><p>Hi"
    file = upload(alice, room, page, 'résumé "1".txt').json()
    answer = client_of(alice).get(f"/api/v1/files/{file['id']}/content", headers={"accept": "image/png"})
    assert answer.status_code == 200
    assert body_of(answer) == page
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["content-length"] == str(len(page))
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"r_sum_ _1_.txt\"; filename*=UTF-8''r%C3%A9sum%C3%A9%20%221%22.txt"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["cache-control"] == "private, no-store"


def test_deleting_takes_row_text_and_bytes(alice, room):
    file = upload(alice, room, b"Hello").json()
    parse_uploads()
    assert client_of(alice).delete(f"/api/v1/files/{file['id']}").status_code == 204
    assert not UploadedFile.objects.exists()
    assert not FilePassage.objects.exists()
    assert stored_keys() == []
    assert client_of(alice).delete(f"/api/v1/files/{file['id']}").status_code == 404


def test_equal_bytes_are_two_files_and_one_object_until_the_last_is_deleted(alice, room):
    first, second = upload(alice, room, b"Hello", "a.txt").json(), upload(alice, room, b"Hello", "b.txt").json()
    assert first["id"] != second["id"]
    assert (first["name"], second["name"]) == ("a.txt", "b.txt")
    assert len(stored_keys()) == 1
    client = client_of(alice)
    assert client.delete(f"/api/v1/files/{first['id']}").status_code == 204
    assert body_of(client.get(f"/api/v1/files/{second['id']}/content")) == b"Hello"
    assert client.delete(f"/api/v1/files/{second['id']}").status_code == 204
    assert stored_keys() == []


def test_equal_bytes_of_two_people_are_two_objects(alice, room):
    bob = make_person("bob")
    upload(alice, room, b"Hello")
    file = upload(bob, make_room(bob), b"Hello").json()
    assert len(stored_keys()) == 2
    client_of(bob).delete(f"/api/v1/files/{file['id']}")
    assert stored_keys() == [f"{alice.id}/{hashlib.sha256(b'Hello').hexdigest()}"]


def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(alice, room, settings):
    settings.FILE_MAX_BYTES = 100_000
    answer = upload(alice, room, b"x" * 100_001)
    assert_refused(answer, 413, "file_too_large")
    assert (answer.json()["detail"], answer.json()["limit_bytes"]) == (
        "A file may have at most 100,000 bytes.",
        100_000,
    )
    assert upload(alice, room, b"x" * 100_000).status_code == 201


@pytest.mark.parametrize("name", ["harmless.txt", "report.pdf", "data.csv"])
def test_an_executable_is_refused_whatever_its_name(alice, room, name):
    assert_refused(upload(alice, room, samples.ELF, name), 415, "unsupported_file_type")


def test_an_empty_file_is_refused(alice, room):
    answer = upload(alice, room, b"")
    assert_refused(answer, 422, "validation_error")
    assert answer.json()["errors"] == [{"field": "file", "code": "empty", "detail": "This file is empty."}]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\x00b.txt", "ab.txt"),
        ("..", "file"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
    ],
)
def test_a_name_leads_nowhere(alice, room, name, kept):
    answer = post_raw(alice, room, multipart(b"Hello", name))
    assert answer.status_code == 201, answer.content
    assert answer.json()["name"] == kept
    assert stored_keys() == [f"{alice.id}/{hashlib.sha256(b'Hello').hexdigest()}"]


def test_an_upload_that_was_cut_off_in_the_middle_is_refused(alice, room):
    body = multipart(b"Hello" * 1000, "a.txt")
    for cut in (body[:-7], body[:2000], body[:150]):
        assert_refused(post_raw(alice, room, cut), 400, "malformed_upload")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", "multipart/form-data; boundary=xyz", 422, "validation_error"),
        (b"rubbish", "multipart/form-data; boundary=xyz", 422, "validation_error"),
        (b"rubbish", "multipart/form-data", 400, "malformed_upload"),
        (b"{}", "application/json", 415, "unsupported_media_type"),
        (b"Hello", "text/plain", 415, "unsupported_media_type"),
        (multipart(b"x", "a.txt", field="upload"), "multipart/form-data; boundary=xyz", 422, "validation_error"),
        (multipart(b"x", ""), "multipart/form-data; boundary=xyz", 422, "validation_error"),
        (multipart(b"x", "a.txt").replace(b"--xyz--\r\n", b"") + multipart(b"y", "b.txt"),
         "multipart/form-data; boundary=xyz", 422, "validation_error"),
    ],
)  # fmt: skip
def test_what_is_no_upload_of_one_file_is_refused(alice, room, body, content_type, status, code):
    assert_refused(post_raw(alice, room, body, content_type), status, code)


def test_an_unknown_field_is_refused_by_its_name(alice, room):
    answer = upload(alice, room, b"Hello", folder="x")
    assert_refused(answer, 422, "validation_error")
    assert answer.json()["errors"] == [{"field": "folder", "code": "unknown_field", "detail": "Unknown member."}]


def test_a_storage_that_is_away_is_503_and_leaves_no_row(alice, room, monkeypatch):
    def away(*_):
        raise ConnectionRefusedError("no route")

    monkeypatch.setattr(storage.backend(), "_save", away)
    answer = upload(alice, room, b"Hello")
    assert_refused(answer, 503, "storage_unavailable")
    assert answer.headers["retry-after"] == "5"


def test_bytes_that_vanished_from_the_storage_are_not_found(alice, room):
    file = upload(alice, room, b"Hello").json()
    folder_of(stored_keys()[0]).unlink()
    answer = client_of(alice).get(f"/api/v1/files/{file['id']}/content")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    parse_uploads()
    shown = client_of(alice).get(f"/api/v1/files/{file['id']}").json()
    assert (shown["parse_status"], shown["parse_error_code"]) == ("failed", "not_found")
    assert shown["parse_error"] == "The bytes of this file are gone from the storage; please upload it again."


def routes(room_id, file_id):
    return [
        ("GET", f"/api/v1/rooms/{room_id}/files"),
        ("POST", f"/api/v1/rooms/{room_id}/files"),
        ("GET", f"/api/v1/files/{file_id}"),
        ("GET", f"/api/v1/files/{file_id}/content"),
        ("DELETE", f"/api/v1/files/{file_id}"),
    ]


def asked(client, method, path):
    body = multipart(b"Hello", "a.txt") if method == "POST" else b""
    return client.generic(method, path, body, content_type="multipart/form-data; boundary=xyz")


def test_bobs_files_and_rooms_are_not_there_for_alice(alice):
    bob = make_person("bob")
    bobs_room = make_room(bob)
    file = upload(bob, bobs_room, b"Bob's").json()
    parse_uploads()
    before = UploadedFile.objects.values().get()
    keys = stored_keys()
    for (method, path), (_, absent) in zip(
        routes(bobs_room, file["id"]), routes(uuid7(), uuid7()), strict=True
    ):  # fmt: skip
        theirs, nobodys = asked(client_of(alice), method, path), asked(client_of(alice), method, absent)
        assert (theirs.status_code, theirs.json()) == (404, nobodys.json()), (method, path)
        assert nobodys.status_code == 404
    assert UploadedFile.objects.values().get() == before
    assert stored_keys() == keys
    assert FilePassage.objects.count() == 1


def test_without_a_token_there_is_nothing(alice, room):
    file = upload(alice, room, b"Hello").json()
    for method, path in routes(room, file["id"]):
        assert asked(APIClient(), method, path).status_code == 401
    assert UploadedFile.objects.count() == 1


def test_files_of_a_deleted_room_are_not_found(alice, room):
    file = upload(alice, room, b"Hello").json()
    services.delete_room(services.room_of(user_id=alice.id, room_id=room))
    for method, path in routes(room, file["id"]):
        assert asked(client_of(alice), method, path).status_code == 404
    assert UploadedFile.objects.count() == 1


def test_the_room_behind_an_agents_own_sessions_holds_no_files(alice):
    session = services.session_of(user_id=alice.id, session_id=make_standalone_session(alice))
    assert_refused(upload(alice, session.room_id, b"Hello"), 404, "not_found")


def test_files_are_listed_in_pages_newest_first(alice, room):
    for number in range(5):
        upload(alice, room, b"%d" % number, f"{number}.txt")
    upload(alice, make_room(alice), b"elsewhere", "elsewhere.txt")
    client, names, url = client_of(alice), [], f"/api/v1/rooms/{room}/files?page_size=2"
    while url:
        page = client.get(url).json()
        names += [file["name"] for file in page["results"]]
        url = page["next"]
    assert names == ["4.txt", "3.txt", "2.txt", "1.txt", "0.txt"]


def test_staff_look_at_files_and_change_nothing(alice, room, client):
    file = upload(alice, room, b"Hello").json()
    staff = make_person("staff", is_staff=True, is_superuser=True)
    assert client.login(email=staff.email, password="correct horse battery staple")
    listed = client.get("/admin/files/uploadedfile/")
    assert listed.status_code == 200
    assert "notes.txt" in listed.content.decode()
    assert client.get(f"/admin/files/uploadedfile/{file['id']}/change/").status_code == 200
    assert client.post(f"/admin/files/uploadedfile/{file['id']}/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/files/uploadedfile/add/").status_code == 403
    assert UploadedFile.objects.count() == 1


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_a_part_without_a_file_name_is_told_so(alice, room, size):
    body = multipart(b"x" * size, "a.txt").replace(b'; filename="a.txt"', b"")
    answer = post_raw(alice, room, body)
    assert_refused(answer, *((422, "validation_error") if size == 5 else (400, "malformed_upload")))
    if size == 5:
        assert answer.json()["errors"] == [
            {"field": "file", "code": "required", "detail": "This part has no file name."}
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("disposition", "kept"),
    [
        ("filename*=UTF-8''na%C3%AFve%20plan.txt", "naïve plan.txt"),
        ("filename=\"a.txt\"; filename*=UTF-8''b.txt", "b.txt"),
        ("filename*=UTF-8''..%2F..%2Fetc%2Fpasswd%00", "passwd"),
    ],
)
def test_names_in_their_other_form_are_read_and_cleaned_too(alice, room, disposition, kept):
    body = multipart(b"Hello", "x").replace(b'filename="x"', disposition.encode())
    answer = post_raw(alice, room, body)
    assert (answer.status_code, answer.json()["name"]) == (201, kept)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("bomb.docx", samples.archive(word__document=b"<a>" + b" " * 250_000_000), "expands_too_far"),
        ("laughs.docx", samples.docx(samples.paragraph("&lol9;"), doctype=samples.BOMB), "dangerous_xml"),
        ("laughs.xlsx", samples.xlsx_with("xl/workbook.xml", lambda xml: samples.BOMB.encode() + xml), "dangerous_xml"),
        ("long.pdf", samples.pdf("Hello", count=1_000_000), "too_many_pages"),
        ("broken.pdf", samples.pdf("Hello", xref="xref\n0 5\ngarbage"), "malformed"),
        ("wide.csv", b",".join([b"x"] * 100_000) + b"\n", "too_many_columns"),
        ("number.json", b"[" + b"1" * 5_000 + b"]", "malformed"),
    ],
)
def test_a_file_that_means_harm_is_taken_and_says_why_it_cannot_be_read(alice, room, name, data, code):
    file = upload(alice, room, data, name).json()
    assert parse_uploads() == 1
    shown = client_of(alice).get(f"/api/v1/files/{file['id']}").json()
    assert (shown["parse_status"], shown["parse_error_code"], shown["kind"]) == ("failed", code, name[-4:].strip("."))
    assert shown["parse_error"].endswith(".")
    assert not FilePassage.objects.exists()


def test_a_full_disk_is_503_and_leaves_nothing(alice, room, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ReceivedFile, "add", full)
    assert_refused(upload(alice, room, b"Hello"), 503, "storage_unavailable")

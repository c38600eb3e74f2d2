"""The limit of an upload, before Django has read it."""

from __future__ import annotations

import json

import pytest

from config.core.body_limit import ENVELOPE_MAX_BYTES
from config.core.tests.unit import test_body_limit

LIMIT = 2_000_000 + ENVELOPE_MAX_BYTES


def ask(chunks, path="/api/v1/rooms/1/files", authorization="Bearer t", **headers):
    return test_body_limit.ask(chunks, path=path, authorization=authorization, **headers)


@pytest.fixture(autouse=True)
def _limit(settings):
    settings.FILE_MAX_BYTES = 2_000_000


def assert_refused(sent):
    assert sent[0]["status"] == 413
    document = json.loads(sent[1]["body"])
    assert (document["code"], document["limit_bytes"]) == ("file_too_large", 2_000_000)


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=b", "Multipart/Form-Data; boundary=b"])
def test_an_upload_may_have_a_file_and_what_is_around_it(content_type):
    sent, _ = ask([b"x" * LIMIT], content_type=content_type, content_length=str(LIMIT))
    assert sent[1]["body"] == str(LIMIT).encode()


def test_a_declared_length_is_refused_before_a_byte_is_read():
    sent, reader = ask([b""], content_type="multipart/form-data; boundary=b", content_length="10737418240")
    assert_refused(sent)
    assert reader.messages_read == 0


def test_an_undeclared_length_is_refused_once_it_is_passed_and_is_never_gathered():
    chunks = [b"x" * 500_000] * 100
    sent, reader = ask(chunks, content_type="multipart/form-data; boundary=b", transfer_encoding="chunked")
    assert_refused(sent)
    assert reader.messages_read == 4


def test_an_undeclared_length_within_the_limit_passes_piece_by_piece():
    chunks = [b"x" * 500_000] * 4
    sent, reader = ask(chunks, content_type="multipart/form-data; boundary=b", transfer_encoding="chunked")
    assert sent[1]["body"] == b"2000000"
    assert reader.messages_read == 4


@pytest.mark.parametrize(
    "asked",
    [{"path": "/api/v1/auth/token"}, {"path": "/api/v1/rooms/1/files/2"}, {"path": "/admin/"}, {"authorization": ""}],
)
def test_elsewhere_and_without_a_token_an_upload_is_held_to_the_size_of_any_body(asked):
    headers = {"path": "/api/v1/rooms/1/files", "authorization": "Bearer t", **asked}
    sent, reader = test_body_limit.ask(
        [b""],
        content_type="multipart/form-data; boundary=b",
        content_length="1500000",
        **{name: value for name, value in headers.items() if value},
    )
    assert json.loads(sent[1]["body"])["code"] == "request_too_large"
    assert reader.messages_read == 0

"""The limit of an upload, before Django has read it."""

from __future__ import annotations

import json

import pytest

from config.core.body_limit import ENVELOPE_MAX_BYTES
from config.core.tests.unit.test_body_limit import ask

LIMIT = 2_000_000 + ENVELOPE_MAX_BYTES


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

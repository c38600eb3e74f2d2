from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from config.core.errors import IdempotencyKeyMalformed, IdempotencyKeyReused
from config.core.idempotency import claim_of, fingerprint
from config.core.ids import uuid7

CALLER: Any = SimpleNamespace(pk=uuid7())


def request_with(key: str | None, body: Any = None, path: str = "/grants") -> Request:
    headers = {} if key is None else {"Idempotency-Key": key}
    raw = APIRequestFactory().post(path, body or {}, format="json", headers=headers)
    request = Request(raw, parsers=[JSONParser()])
    request.user = CALLER
    return request


def print_of(**changes: Any) -> str:
    return fingerprint(**{"method": "POST", "path": "/grants", "body": {"a": 1, "b": [1, 2]}, **changes})


def test_a_fingerprint_does_not_depend_on_the_order_of_members() -> None:
    assert print_of(body={"b": [1, 2], "a": 1}) == print_of()
    assert len(print_of()) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "PUT"},
        {"path": "/grants/"},
        {"body": {"a": 1, "b": [2, 1]}},
        {"body": {"a": "1", "b": [1, 2]}},
        {"body": {"a": 1, "b": [1, 2], "c": None}},
        {"body": None},
    ],
)
def test_anything_else_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert print_of(**changes) != print_of()


def test_a_body_that_utf8_cannot_hold_has_a_fingerprint() -> None:
    assert len(print_of(body={"a": "\ud800"})) == 64


def test_without_the_header_there_is_no_claim() -> None:
    assert claim_of(request_with(None)) is None


@pytest.mark.parametrize("key", ["k", " ", "a b~!", "x" * 255])
def test_a_claim_is_the_caller_s(key: str) -> None:
    claim = claim_of(request_with(key, {"amount": "1"}))
    assert claim is not None
    assert (claim.caller_id, claim.key) == (CALLER.pk, key)
    assert claim.fingerprint == print_of(body={"amount": "1"})


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "a\x00", "a\tb", "a\n", "\x7f", "日本"])
def test_a_key_that_is_no_printable_ascii_is_malformed(key: str) -> None:
    with pytest.raises(IdempotencyKeyMalformed):
        claim_of(request_with(key))


def test_a_claim_refuses_another_request() -> None:
    first, second = claim_of(request_with("k", {"a": 1})), claim_of(request_with("k", {"a": 2}))
    assert first is not None
    assert second is not None
    first.check(first.fingerprint)
    with pytest.raises(IdempotencyKeyReused):
        first.check(second.fingerprint)

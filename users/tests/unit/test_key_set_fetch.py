"""Fetching over a real socket, from a server that does everything wrong."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from users import key_set_fetch
from users.key_set_fetch import SIZE_MAX_BYTES, FetchFailed, fetch
from users.tests.identity_provider import IdentityProvider, answer, endlessly, jwk, rsa_key, slowly


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as serving:
        serving.keys = [jwk(rsa_key())]
        yield serving


def test_a_key_set_is_read(provider: IdentityProvider) -> None:
    assert fetch(provider.url) == {"keys": provider.keys}
    assert fetch(f"{provider.url}?version=2") == {"keys": provider.keys}


def test_a_key_set_of_the_greatest_size_is_read(provider: IdentityProvider) -> None:
    frame = len(json.dumps({"keys": [], "x": ""}))
    body = json.dumps({"keys": [], "x": "a" * (SIZE_MAX_BYTES - frame)}).encode()
    provider.behave = answer(body)
    assert fetch(provider.url) == json.loads(body)
    provider.behave = answer(body + b" ")
    with pytest.raises(FetchFailed, match="more than"):
        fetch(provider.url)


def test_300_mb_are_not_read(provider: IdentityProvider) -> None:
    provider.behave = endlessly
    with pytest.raises(FetchFailed, match="more than 262144 bytes"):
        fetch(provider.url)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 100_000, b'{"keys": [', b"\x1f\x8b\x08"]
)
def test_garbage_is_refused_and_not_repeated(provider: IdentityProvider, body: bytes) -> None:
    provider.behave = answer(body)
    with pytest.raises(FetchFailed, match=r"\Anot JSON\Z"):
        fetch(provider.url)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 303, 307, 308, 304, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("location", ["/other", "http://127.0.0.1:1/", "file:///etc/passwd"])
def test_no_redirect_is_followed_and_no_other_status_believed(
    provider: IdentityProvider, status: int, location: str
) -> None:
    provider.behave = answer(b'{"keys": []}', status=status, headers={"Location": location})
    with pytest.raises(FetchFailed, match=f"HTTP status {status}"):
        fetch(provider.url)
    assert provider.asked == 1


@pytest.mark.parametrize("body", [b"", b" " * 1000])
def test_a_server_that_drips_is_left_in_time(
    provider: IdentityProvider, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_set_fetch, "TIMEOUT_S", 0.4)
    provider.behave = slowly(body + b'{"keys": []}', seconds_per_byte=0.05 if not body else 0.001)
    started = time.monotonic()
    with pytest.raises(FetchFailed):
        fetch(provider.url)
    assert time.monotonic() - started < 2


def test_a_server_that_says_nothing_is_left_in_time(
    provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_set_fetch, "TIMEOUT_S", 0.3)
    provider.behave = lambda _: time.sleep(1)
    started = time.monotonic()
    with pytest.raises(FetchFailed):
        fetch(provider.url)
    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize("head", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200, b"", b"\x15\x03\x01"])
def test_what_is_no_http_is_refused(provider: IdentityProvider, head: bytes) -> None:
    provider.behave = lambda handler: handler.wfile.write(head) and None
    with pytest.raises(FetchFailed):
        fetch(provider.url)


def test_a_dead_server_an_unknown_host_and_a_server_without_tls_are_refused(provider: IdentityProvider) -> None:
    with pytest.raises(FetchFailed, match="SSLError"):
        fetch(provider.url.replace("http:", "https:"))
    provider.die()
    with pytest.raises(FetchFailed, match="ConnectionRefusedError"):
        fetch(provider.url)
    with pytest.raises(FetchFailed, match=socket.gaierror.__name__):
        fetch("https://nowhere.invalid/jwks")

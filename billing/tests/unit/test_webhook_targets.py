"""Where a stranger's URL may lead."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from billing.alerts.targets import Target, TargetRefused, is_public, parse_target, resolve

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
    "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "ff0e::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(TargetRefused) as refusal:
        parse_target(f"https://{host}/hook".replace("%eth0", ""))
    assert refusal.value.code == "private_address"


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_taken(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"]
)
def test_other_names_for_this_machine_are_refused_at_once(host, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    with pytest.raises(TargetRefused, match="public internet"):
        parse_target(f"https://{host}/")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_url"),
        ("https://", "invalid_url"),
        ("https:///path", "invalid_url"),
        ("https://[::1/", "invalid_url"),
        ("https://example.com:0/", "invalid_url"),
        ("https://example.com:99999/", "invalid_url"),
        ("https://user:pw@example.com/", "invalid_url"),
        ("https://@example.com/", "invalid_url"),
        ("https://example.com/#x", "invalid_url"),
        ("https://exa mple.com/", "invalid_url"),
        ("https://example.com/\r\nX: y", "invalid_url"),
        ("https://example.com\\@127.0.0.1/", "invalid_url"),
        ("https://bücher.example/", "invalid_url"),
        ("http://example.com/", "https_needed"),
        ("ftp://example.com/", "https_needed"),
        ("file://host/etc/passwd", "https_needed"),
    ],
)
def test_a_wrong_url_is_refused(url, code, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    with pytest.raises(TargetRefused) as refusal:
        parse_target(url)
    assert refusal.value.code == code
    assert "pw" not in str(refusal.value)


def test_a_url_is_taken_apart():
    assert parse_target("https://Hooks.example.com/a?b=c") == Target("https", "hooks.example.com", 443, "/a?b=c")
    assert parse_target("https://hooks.example.com:8443") == Target("https", "hooks.example.com", 8443, "/")


def test_one_private_address_among_many_refuses_the_host(monkeypatch, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    found = ["8.8.8.8", "10.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (ip, 443)) for ip in found])
    target = parse_target("https://rebinding.example.com/")
    with pytest.raises(TargetRefused, match="public internet"):
        resolve(target, timeout_s=5)
    found.pop()
    assert resolve(target, timeout_s=5) == ["8.8.8.8"]


def test_a_resolver_that_hangs_is_left_and_one_that_fails_is_heard(monkeypatch):
    from threading import Event

    over = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    with pytest.raises(TimeoutError):
        resolve(parse_target("https://slow.example.com/"), timeout_s=0.05)
    over.set()

    def fail(*_, **__):
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(OSError, match="unknown"):
        resolve(parse_target("https://nowhere.example.com/"), timeout_s=5)

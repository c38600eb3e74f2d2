"""Where a webhook may go: not into the network that this process sees and its users do not.

A URL is judged twice. When it is registered by what it says, for a quick answer; before each attempt by what its host
resolves to in that moment. The attempt then connects to an address that was judged, not to the name once more.
"""

from __future__ import annotations

import socket
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from threading import Thread
from urllib.parse import urlsplit

from django.conf import settings

IPAddress = IPv4Address | IPv6Address
# A host with more has something to hide; each one that does not answer costs time.
ADDRESSES_MAX = 16


class TargetRefused(Exception):
    """The message is one human sentence; `code` a stable word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. `path` has the query with it."""

    scheme: str
    host: str
    port: int
    path: str


def parse_target(url: str) -> Target:
    """Raises: TargetRefused, also for an address as host that is not a public one."""
    try:
        parts = urlsplit(url)
        # Reading the port is what judges it.
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise TargetRefused("invalid_url", "Not a URL.") from None
    if not (host and port != 0 and url.isascii() and url.isprintable() and not set(url) & set(" \\")):
        raise TargetRefused("invalid_url", "Expected https://host[:port]/path, in ASCII.")
    if "@" in parts.netloc or parts.fragment:
        raise TargetRefused("invalid_url", "Without a user name, a password or a fragment.")
    if parts.scheme not in ({"https", "http"} if settings.WEBHOOK_ALLOW_PRIVATE else {"https"}):
        raise TargetRefused("https_needed", "Needs https.")
    literal = _literal(host)
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost") or literal:
        _judge([literal or ip_address("127.0.0.1")])
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


def resolve(target: Target, *, timeout_s: float) -> list[str]:
    """The addresses of a host, all of them judged: one private one among them and none is used.

    In a thread that is left behind when it takes too long: the system's resolver has no timeout of ours.

    Raises: TargetRefused, OSError (TimeoutError among them).
    """
    found: Future[list[str]] = Future()
    Thread(target=_look_up, args=(target, found), name="webhook-resolve", daemon=True).start()
    addresses = found.result(timeout=timeout_s)
    if len(addresses) > ADDRESSES_MAX:
        raise TargetRefused("too_many_addresses", "The host has too many addresses.")
    _judge([ip_address(address) for address in addresses])
    return addresses


def is_public(address: IPAddress) -> bool:
    """May a stranger's URL lead there? Addresses that stand for others are judged by those."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address.teredo is not None:
            return False
    return (
        address.is_global
        and not address.is_multicast
        # Has the translations of IPv4 addresses among others (64:ff9b::/96).
        and not address.is_reserved
    )


def _judge(addresses: list[IPAddress]) -> None:
    if not settings.WEBHOOK_ALLOW_PRIVATE and not all(is_public(address) for address in addresses):
        raise TargetRefused("private_address", "The host is not on the public internet.")


def _look_up(target: Target, found: Future[list[str]]) -> None:
    try:
        infos = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        found.set_exception(error if isinstance(error, OSError) else OSError("not a host name"))
    else:
        found.set_result(list(dict.fromkeys(str(info[4][0]) for info in infos)))


def _literal(host: str) -> IPAddress | None:
    """A host that is an address, in whatever form the system's resolver takes for one (`127.1`, `0x7f000001`)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None

"""One POST to a webhook: to an address that was judged, within a time and a size, and without being led elsewhere."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from contextlib import suppress
from functools import cache

from django.conf import settings

from billing.alerts.targets import Target, parse_target, resolve
from config.core.deadlines import cut_after

# From the look-up of the name to the last byte, however slowly they come.
TIMEOUT_S = 10.0
# For each address of the host: one that does not answer leaves time for the others.
CONNECT_TIMEOUT_S = 3.0
RESPONSE_MAX_BYTES = 65_536


def post(url: str, *, body: bytes, headers: dict[str, str]) -> int:
    """Send it once; the status of the answer, redirects included.

    `http.client`, because it does no more than this: no redirects, no proxies, no other schemes, no netrc.

    Raises: TargetRefused, OSError (TimeoutError, ssl.SSLError among them), http.client.HTTPException.
    """
    deadline = time.monotonic() + TIMEOUT_S
    target = parse_target(url)
    addresses = resolve(target, timeout_s=TIMEOUT_S)
    sock = _connected(addresses, target.port, deadline=deadline)
    try:
        with cut_after(_left(deadline), sock):
            return _exchange(sock, target, body=body, headers=headers)
    except (OSError, http.client.HTTPException):
        # What a socket that was cut raises says nothing of why.
        _left(deadline)
        raise
    finally:
        sock.close()


def _connected(addresses: list[str], port: int, *, deadline: float) -> socket.socket:
    """The first address that answers. Raises: OSError, of the last one."""
    last: OSError = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=min(CONNECT_TIMEOUT_S, _left(deadline)))
        except OSError as error:
            last = error
    raise last


def _exchange(sock: socket.socket, target: Target, *, body: bytes, headers: dict[str, str]) -> int:
    if target.scheme == "https":
        sock = _tls().wrap_socket(sock, server_hostname=target.host)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(target.host, target.port, context=_tls())
    else:
        connection = http.client.HTTPConnection(target.host, target.port)
    # Given a socket it does not look for one; name and port are for the Host header.
    connection.sock = sock
    try:
        connection.request("POST", target.path, body=body, headers={**_headers(), **headers})
        response = connection.getresponse()
        # The answer is the status. Some servers complain of a client that does not hear them out; but what they say is
        # read as bytes, never as chunks, whose sizes would be theirs to choose.
        with suppress(OSError):
            if response.fp is not None:
                response.fp.read1(RESPONSE_MAX_BYTES)
        return response.status
    finally:
        connection.close()
        sock.close()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _headers() -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Tallyroom/{settings.VERSION}",
        "Connection": "close",
    }


def _left(deadline: float) -> float:
    """Raises: TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left

"""Read the identity provider's key set over HTTP, within a time and a size, and without being led elsewhere."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

from config.core.deadlines import cut_after

# From the connect to the last byte, however slowly they come.
TIMEOUT_S = 3.0
SIZE_MAX_BYTES = 262_144
_HEADERS = {
    "Accept": "application/jwk-set+json, application/json",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class FetchFailed(Exception):
    """The message is a reason for the log. It repeats nothing of what the provider sent."""


def fetch(url: str) -> object:
    """The JSON document at `url`, whose scheme was judged when the settings were read.

    `http.client`, because it does no more than this: no redirects (a key set that another host could supply would be
    that host's to choose), no other schemes, no netrc.

    Raises: FetchFailed.
    """
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        body = _body(connection, target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    except (OSError, http.client.HTTPException) as error:
        raise FetchFailed(f"{type(error).__name__}") from None
    finally:
        connection.close()
    if len(body) > SIZE_MAX_BYTES:
        raise FetchFailed(f"more than {SIZE_MAX_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise FetchFailed("not JSON") from None


def _body(connection: http.client.HTTPConnection, *, target: str) -> bytes:
    connection.connect()
    with cut_after(TIMEOUT_S, connection.sock):
        connection.request("GET", target, headers=_HEADERS)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise FetchFailed(f"HTTP status {response.status}")
        return response.read(SIZE_MAX_BYTES + 1)

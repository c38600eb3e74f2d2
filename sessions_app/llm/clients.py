"""One httpx client per event loop: its connections belong to the loop that opened them."""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from threading import Lock

import httpx

from sessions_app.llm.connections import Connections

# At DEBUG both libraries print headers, and at INFO each URL. Our key is in a header of every request, so they are
# held at WARNING, whatever the level of the root logger.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}
_clients_lock = Lock()


def client() -> httpx.AsyncClient:
    """The running loop's client, made at first use."""
    loop = asyncio.get_running_loop()
    known = _clients.get(loop)
    if known is not None:
        return known
    with _clients_lock:
        # A loop that ended without `aclose_clients` (each `asyncio.run` in a worker) must not stay here for ever.
        for dead in [each for each in _clients if each.is_closed()]:
            del _clients[dead]
        return _clients.setdefault(loop, _new_client())


async def aclose_clients() -> None:
    """Close the running loop's client. For shutdown, when no call is under way."""
    with _clients_lock:
        known = _clients.pop(asyncio.get_running_loop(), None)
    if known is not None:
        await known.aclose()


def _new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=Connections(_tls()),
        # No proxies, no netrc, no certificates from variables that the operator did not set for us.
        trust_env=False,
        # A redirect would carry the prompt, and at some hosts the key, to an address that nobody configured.
        follow_redirects=False,
        # A provider's cookies would tie one user's calls to the next one's.
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": "tallyroom"},
    )


@cache
def _tls() -> ssl.SSLContext:
    """Loading the certificates takes tens of milliseconds: once per process."""
    return httpx.create_ssl_context(trust_env=False)

"""An identity provider for tests: real keys, and its key set served on a real socket that can misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from users import provider_keys
from users.tests.makers import make_claims

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(name: str = "first", *, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key by its name: making one takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str = "first", *, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def jwk(key: PrivateKey, kid: str | None = "rsa-1", **members: Any) -> dict[str, Any]:
    """The public half; a member that is None is left out."""
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    shown = {**algorithm.to_jwk(key.public_key(), as_dict=True), "use": "sig", "kid": kid, **members}
    shown.pop("key_ops") if "key_ops" in shown and "key_ops" not in members else None
    return {name: value for name, value in shown.items() if value is not None}


def make_signed(
    key: PrivateKey, *, kid: str | None = "rsa-1", headers: dict[str, Any] | None = None, **claims: Any
) -> str:
    """A token of ours truly: the algorithm is the one of the key's type."""
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    named = {} if kid is None else {"kid": kid}
    return jwt.encode(make_claims(**claims), key, algorithm=algorithm, headers={**named, **(headers or {})})


class IdentityProvider:
    """Serves `keys` at `url`, until a test says otherwise by `behave`. Counts what it was asked."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.behave: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.asked = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/.well-known/jwks.json"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> IdentityProvider:
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        # Another provider may get the port.
        provider_keys._OF_URL.pop(self.url, None)

    def die(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(provider) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler within
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                try:
                    (provider.behave or answer(json.dumps({"keys": provider.keys}).encode()))(self)
                except OSError:
                    # Whoever asked has hung up.
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def answer(
    body: bytes, *, status: int = 200, headers: dict[str, str] | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def slowly(body: bytes, *, seconds_per_byte: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """A byte at a time, so that no single read ever times out. The head comes so, too."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n\r\n" + body:
            handler.wfile.write(bytes([byte]))
            time.sleep(seconds_per_byte)

    return behave


def endlessly(handler: BaseHTTPRequestHandler) -> None:
    """300 MB in chunks of 64 KB, none of them the end of a document."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\n\r\n{"keys": ["')
    for _ in range(300 * 16):
        handler.wfile.write(b"a" * 65_536)

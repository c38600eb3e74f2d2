"""One POST over a real socket, to a receiver that does everything wrong."""

from __future__ import annotations

import http.client
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from billing.alerts import sealing, sending
from billing.alerts.messages import signed_headers
from billing.alerts.targets import TargetRefused
from billing.tests.receiver import Receiver
from config.core.ids import uuid7

HOST = "hooks.example.com"


@pytest.fixture(autouse=True)
def _private(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture
def receiver():
    with Receiver() as serving:
        yield serving


def post(url, body=b"{}", **headers):
    return sending.post(url, body=body, headers=headers)


def test_a_message_arrives_with_its_headers_at_its_path(receiver):
    assert post(f"{receiver.url}?a=b", b'{"x":1}', **{"webhook-id": "1"}) == 200
    (got,) = receiver.received
    assert (got.path, got.body, got.id) == ("/hook?a=b", b'{"x":1}', "1")
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver, status):
    with Receiver() as elsewhere:
        receiver.status, receiver.headers = status, {"Location": elsewhere.url}
        assert post(receiver.url) == status
        assert (len(receiver.received), elsewhere.received) == (1, [])


@pytest.mark.parametrize("way", ["hang", "drip"])
def test_who_does_not_answer_in_time_is_left(receiver, way, monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.3)
    receiver.behave = getattr(receiver, way)
    with pytest.raises(TimeoutError):
        post(receiver.url)


def test_an_endless_body_is_not_read_to_its_end(receiver):
    def endless(handler):
        handler.wfile.write(b"HTTP/1.1 204 x\r\n\r\n".replace(b"204", b"200"))
        while not receiver.released.is_set():
            handler.wfile.write(b"a" * 65_536)

    receiver.behave = endless
    assert post(receiver.url) == 200


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200, b""])
def test_what_is_no_http_is_an_error(receiver, answer):
    receiver.behave = lambda handler: handler.wfile.write(answer) and None
    with pytest.raises((http.client.HTTPException, OSError)):
        post(receiver.url)


def test_a_private_host_is_not_even_connected_to(receiver, settings, monkeypatch):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", receiver.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)
    with pytest.raises(TargetRefused, match="public internet"):
        post(f"https://{HOST}:{receiver.port}/")
    assert receiver.received == []


def make_certificate(tmp_path, host=HOST):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )  # fmt: skip
    pem = tmp_path / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return pem


def test_tls_goes_to_the_resolved_address_under_the_hosts_name(tmp_path, monkeypatch):
    pem = make_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    asked = []
    server.sni_callback = lambda _, name, __: asked.append(name)
    monkeypatch.setattr(sending, "_tls", lambda: ssl.create_default_context(cafile=pem))
    looked_up = []

    def look_up(host, *_, **__):
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    with Receiver(tls=server) as receiver:
        with monkeypatch.context() as names:
            # `create_connection` looks up the address that it is given, too.
            real = socket.getaddrinfo
            names.setattr(
                socket, "getaddrinfo", lambda host, *a, **k: look_up(host) if host == HOST else real(host, *a, **k)
            )
            assert post(f"https://{HOST}:{receiver.port}/hook") == 200
        (got,) = receiver.received
    assert (asked, got.headers["host"]) == ([HOST], f"{HOST}:{receiver.port}")
    # Once: a second look-up could answer another address than the one that was judged.
    assert looked_up == [HOST]


def test_another_hosts_certificate_is_refused(tmp_path, monkeypatch):
    pem = make_certificate(tmp_path, "other.example.com")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    monkeypatch.setattr(sending, "_tls", lambda: ssl.create_default_context(cafile=pem))
    with Receiver(tls=server) as receiver:
        with pytest.raises(ssl.SSLCertVerificationError):
            post(f"https://127.0.0.1:{receiver.port}/")
        assert receiver.received == []


def test_a_signature_is_right_by_the_schemes_own_library(receiver):
    secret, body = sealing.new_secret(), b'{"type":"ping","data":{}}'
    id_ = uuid7()
    headers = signed_headers(secret=secret, message_id=id_, sent_at=datetime.now(UTC), body=body)
    post(receiver.url, body, **headers)
    (got,) = receiver.received
    assert got.verified(secret) == {"type": "ping", "data": {}}
    from standardwebhooks.webhooks import WebhookVerificationError

    with pytest.raises(WebhookVerificationError):
        got.verified(sealing.new_secret())


def test_the_worked_example_of_the_scheme():
    headers = signed_headers(
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        sent_at=datetime.fromtimestamp(1614265330, UTC), body=b'{"test": 2432232314}',
    )  # fmt: skip
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_sealed_secret_opens_under_its_key_alone(settings):
    secret = sealing.new_secret()
    sealed = sealing.seal(secret)
    assert secret not in sealed
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "x" * 50
    with pytest.raises(sealing.SecretUnreadable):
        sealing.unseal(sealed)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert sealing.unseal(sealed) == secret

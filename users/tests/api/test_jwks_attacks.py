"""Forged tokens against published keys: the ways in which one kind of key was taken for another elsewhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rest_framework.test import APIClient

from users.models import ExternalIdentity, User
from users.tests.identity_provider import IdentityProvider, ec_key, jwk, make_signed, rsa_key
from users.tests.makers import SECRET, make_claims, make_jwt, segment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_outside_provider")]
Refused = Callable[[str], None]


@pytest.fixture(params=["keys only", "keys and secret"])
def provider(request: pytest.FixtureRequest, settings: Any) -> Iterator[IdentityProvider]:
    with IdentityProvider() as serving:
        serving.keys = [jwk(rsa_key()), jwk(ec_key(), "ec-1")]
        settings.AUTH_JWKS_URL = serving.url
        settings.AUTH_JWT_SECRET = SECRET if request.param == "keys and secret" else ""
        yield serving


@pytest.fixture
def refused(client: APIClient, provider: IdentityProvider, django_assert_num_queries: Any) -> Iterator[Refused]:
    def check(token: str) -> None:
        with django_assert_num_queries(0):
            response = client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert (response.status_code, response.json()["code"]) == (401, "token_invalid")

    yield check
    assert (User.objects.count(), ExternalIdentity.objects.count()) == (0, 0)


def mac(header: dict[str, Any], secret: bytes) -> str:
    """An HMAC under whatever secret, which PyJWT would not let us use."""
    signing_input = f"{segment(header)}.{segment(make_claims())}"
    return f"{signing_input}.{segment(hmac.new(secret, signing_input.encode(), hashlib.sha256).digest())}"


def test_the_token_that_the_attacks_start_from_is_valid(client: APIClient, provider: IdentityProvider) -> None:
    for token in (make_signed(rsa_key()), make_signed(ec_key(), kid="ec-1")):
        assert client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_public_key_as_the_secret_of_an_hmac(refused: Refused) -> None:
    for key, kid in ((rsa_key(), "rsa-1"), (ec_key(), "ec-1")):
        public = key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        shown = json.dumps(jwk(key, kid)).encode()
        ssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        for secret in (pem, pem.strip(), der, base64.b64encode(der), shown, ssh, b""):
            for algorithm in ("HS256", "RS256", "ES256"):
                refused(mac({"alg": algorithm, "kid": kid}, secret))
                refused(mac({"alg": algorithm}, secret))


def test_the_shared_secret_under_the_name_of_another_algorithm(refused: Refused) -> None:
    for algorithm in ("RS256", "ES256", "HS384", "none", "PS256", "EdDSA"):
        refused(mac({"alg": algorithm, "kid": "rsa-1"}, SECRET.encode()))


def test_no_algorithm_no_signature_no_text(refused: Refused) -> None:
    for algorithm in ("none", "None", "", None, 5, True, ["RS256"], {"RS256": 1}, "rs256", "RS256 "):
        for signature in ("", segment(b"x" * 256)):
            refused(f"{segment({'alg': algorithm, 'kid': 'rsa-1'})}.{segment(make_claims())}.{signature}")
    refused(f"{segment({'kid': 'rsa-1'})}.{segment(make_claims())}.")


def test_other_algorithms_of_the_right_keys(refused: Refused) -> None:
    for algorithm in ("RS384", "RS512", "PS256", "PS512"):
        refused(jwt.encode(make_claims(), rsa_key(), algorithm=algorithm, headers={"kid": "rsa-1"}))
    curve = ec_key(curve=ec.SECP384R1)
    refused(jwt.encode(make_claims(), curve, algorithm="ES384", headers={"kid": "ec-1"}))


def test_the_kid_of_a_key_of_another_type(refused: Refused) -> None:
    refused(make_signed(rsa_key(), kid="ec-1"))
    refused(make_signed(ec_key(), kid="rsa-1"))


def test_an_rsa_signature_under_the_name_of_es256(refused: Refused) -> None:
    signing_input = f"{segment({'alg': 'ES256', 'kid': 'ec-1'})}.{segment(make_claims())}"
    signature = rsa_key().sign(signing_input.encode(), padding.PKCS1v15(), SHA256())
    refused(f"{signing_input}.{segment(signature)}")


def test_a_signature_of_zeros(refused: Refused) -> None:
    """The one of CVE-2022-21449, and its like: r and s of 0, of the group's order, in another encoding."""
    signing_input = f"{segment({'alg': 'ES256', 'kid': 'ec-1'})}.{segment(make_claims())}"
    order = bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
    right = ec_key().sign(signing_input.encode(), ec.ECDSA(SHA256()))
    for signature in (bytes(64), order * 2, b"", bytes(63), bytes(65), right, bytes(31) + b"\1" + bytes(32)):
        refused(f"{signing_input}.{segment(signature)}")


def test_somebody_else_s_key_under_a_known_kid(refused: Refused) -> None:
    refused(make_signed(rsa_key("mallory")))
    refused(make_signed(ec_key("mallory"), kid="ec-1"))


def test_a_kid_that_is_no_text_or_leads_elsewhere(refused: Refused) -> None:
    mallory = rsa_key("mallory")
    for kid in (
        "",
        "../../dev/null",
        "https://evil.example.com/jwks",
        "rsa-1\x00",
        "' OR 1=1 --",
        "a" * 5000,
        "\u00e9",
    ):
        refused(make_signed(mallory, kid=kid))
    head = {"alg": "RS256", "typ": "JWT"}
    for odd in (None, 5, True, ["rsa-1"], {"rsa-1": 1}):
        refused(f"{segment({**head, 'kid': odd})}.{segment(make_claims())}.{segment(b'x' * 256)}")


def test_a_key_that_the_token_brings_along_or_points_to(refused: Refused, provider: IdentityProvider) -> None:
    mallory = rsa_key("mallory")
    with IdentityProvider() as evil:
        evil.keys = [jwk(mallory, "evil")]
        for header in (
            {"jwk": jwk(mallory, "rsa-1")},
            {"jku": evil.url},
            {"x5u": evil.url},
            {"x5c": ["MIIB"], "x5t": "x"},
        ):
            refused(make_signed(mallory, kid="evil", headers=header))
            refused(make_signed(mallory, kid="rsa-1", headers=header))
            refused(make_signed(mallory, kid=None, headers=header))
        assert evil.asked == 0


def test_an_extension_that_must_be_understood(refused: Refused) -> None:
    for crit in (["exp"], ["b64"], [], "b64", None, [5]):
        header = {"alg": "RS256", "kid": "rsa-1", "crit": crit, "exp": 1}
        signing_input = f"{segment(header)}.{segment(make_claims())}"
        signature = rsa_key().sign(signing_input.encode(), padding.PKCS1v15(), SHA256())
        refused(f"{signing_input}.{segment(signature)}")


@pytest.mark.parametrize(
    "members",
    [{"use": "enc"}, {"key_ops": ["sign"]}, {"alg": "RS512"}, {"alg": "RSA-OAEP"}, {"d": "AQAB"}, {"kty": "oct"}],
)
def test_a_right_signature_of_a_key_that_is_not_for_this(
    refused: Refused, provider: IdentityProvider, members: dict[str, Any]
) -> None:
    provider.keys = [jwk(rsa_key(), **members)]
    refused(make_signed(rsa_key()))
    refused(make_signed(rsa_key(), kid=None))


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_a_right_signature_of_a_weak_key(refused: Refused, provider: IdentityProvider) -> None:
    provider.keys = [jwk(rsa_key("weak", bits=1024))]
    refused(make_signed(rsa_key("weak", bits=1024)))


def test_a_symmetric_key_in_the_set(refused: Refused, provider: IdentityProvider) -> None:
    published = b"a-symmetric-key-that-somebody-published-0123456789"
    provider.keys = [{"kty": "oct", "k": segment(published), "kid": "oct-1", "alg": "HS256", "use": "sig"}]
    refused(mac({"alg": "HS256", "kid": "oct-1"}, published))
    refused(mac({"alg": "HS256"}, published))


def test_claims_are_judged_as_those_of_a_shared_secret(refused: Refused) -> None:
    now = int(time.time())
    for claims in (
        {"exp": now - 1}, {"exp": None}, {"exp": str(now + 60)}, {"nbf": now + 60}, {"iat": now + 60}, {"nbf": True},
        {"aud": "another-service"}, {"aud": None}, {"iss": "https://evil.example.com"}, {"iss": None},
        {"sub": ""}, {"sub": None}, {"sub": "a" * 256}, {"sub": "a\x00b"},
    ):  # fmt: skip
        refused(make_signed(rsa_key(), **claims))


def test_a_tampered_payload_or_signature(refused: Refused) -> None:
    head, payload, signature = make_signed(rsa_key()).split(".")
    refused(f"{head}.{segment(make_claims(sub='root'))}.{signature}")
    refused(f"{head}.{payload}.{signature[:-8]}")
    refused(f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}")


def test_a_token_of_the_keys_where_only_the_secret_is_configured(refused: Refused, settings: Any) -> None:
    settings.AUTH_JWKS_URL, settings.AUTH_JWT_SECRET = "", SECRET
    refused(make_signed(rsa_key()))


def test_a_token_of_the_secret_where_only_the_keys_are_configured(refused: Refused, settings: Any) -> None:
    settings.AUTH_JWT_SECRET = ""
    refused(make_jwt())

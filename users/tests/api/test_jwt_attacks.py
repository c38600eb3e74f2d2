"""One forged or misused outside token a test. Each is refused alike, before the database is asked, and makes nobody."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from rest_framework.test import APIClient

from users.models import ExternalIdentity, User
from users.tests.makers import SECRET, make_claims, make_jwt, segment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_outside_provider")]
Refused = Callable[[str], None]


@pytest.fixture
def refused(client: APIClient, django_assert_num_queries: Any) -> Iterator[Refused]:
    def check(token: str) -> None:
        with django_assert_num_queries(0):
            response = client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert (response.status_code, response.json()["code"]) == (401, "token_invalid")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert SECRET not in response.content.decode()

    yield check
    assert (User.objects.count(), ExternalIdentity.objects.count()) == (0, 0)


def signed(header: Any, claims: Any, *, secret: str = SECRET, digest: Any = hashlib.sha256) -> str:
    """A token whose signature is right for what it signs, however odd that is."""
    signing_input = f"{segment(header)}.{segment(claims)}"
    return f"{signing_input}.{segment(hmac.new(secret.encode(), signing_input.encode(), digest).digest())}"


def test_the_token_that_the_attacks_start_from_is_valid(client: APIClient) -> None:
    token = signed({"alg": "HS256", "typ": "JWT"}, make_claims())
    assert client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_algorithm_none_without_a_signature(refused: Refused) -> None:
    for name in ("none", "None", "NONE", "nOnE"):
        refused(f"{segment({'alg': name, 'typ': 'JWT'})}.{segment(make_claims())}.")
        refused(f"{segment({'alg': name, 'typ': 'JWT'})}.{segment(make_claims())}.{segment(b'x' * 32)}")


def test_algorithm_none_with_a_signature_that_would_be_right(refused: Refused) -> None:
    refused(signed({"alg": "none"}, make_claims()))


def test_algorithm_rs256_with_the_shared_secret_as_its_key(refused: Refused) -> None:
    refused(signed({"alg": "RS256", "typ": "JWT"}, make_claims()))


def test_another_hmac_with_the_right_secret(refused: Refused) -> None:
    for algorithm, digest in (("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
        refused(jwt.encode(make_claims(), SECRET * 2, algorithm=algorithm))
        refused(signed({"alg": algorithm}, make_claims(), digest=digest))


def test_an_algorithm_that_is_no_name(refused: Refused) -> None:
    for algorithm in (None, "", "hs256", "HS256 ", ["HS256"], {"HS256": 1}, 5, True):
        refused(signed({"alg": algorithm}, make_claims()))
    refused(signed({"typ": "JWT"}, make_claims()))


def test_a_key_that_the_token_brings_along(refused: Refused) -> None:
    own = "the-attacker-s-own-secret-of-more-than-32-bytes"
    header = {"alg": "HS256", "jwk": {"kty": "oct", "k": segment(own.encode())}, "kid": "../../dev/null"}
    refused(signed(header, make_claims(), secret=own))


def test_a_signature_of_another_secret(refused: Refused) -> None:
    refused(make_jwt(secret="somebody-else-s-secret-of-more-than-32-bytes"))


def test_an_empty_secret(refused: Refused) -> None:
    refused(signed({"alg": "HS256"}, make_claims(), secret=""))


def test_a_tampered_signature(refused: Refused) -> None:
    head, payload, signature = make_jwt().split(".")
    refused(f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}")
    refused(f"{head}.{payload}.{signature[:-4]}")
    refused(f"{head}.{payload}.")


def test_a_tampered_payload(refused: Refused) -> None:
    head, _, signature = make_jwt().split(".")
    refused(f"{head}.{segment(make_claims(sub='root'))}.{signature}")


def test_the_wrong_audience(refused: Refused) -> None:
    refused(make_jwt(aud="another-service"))
    refused(make_jwt(aud=["another-service"]))
    refused(make_jwt(aud=[]))
    refused(make_jwt(aud="tallyroom2"))
    refused(make_jwt(aud={"tallyroom": 1}))


def test_no_audience_where_one_is_asked_for(refused: Refused) -> None:
    refused(make_jwt(aud=None))


def test_the_wrong_issuer(refused: Refused) -> None:
    refused(signed({"alg": "HS256"}, make_claims(iss="https://evil.example.com")))
    refused(signed({"alg": "HS256"}, make_claims(iss="https://id.example.com/")))
    refused(signed({"alg": "HS256"}, make_claims(iss=["https://id.example.com"])))


def test_no_issuer_where_one_is_asked_for(refused: Refused) -> None:
    refused(make_jwt(iss=None))


def test_an_expired_token(refused: Refused) -> None:
    refused(make_jwt(exp=int(time.time()) - 1))


def test_no_expiry(refused: Refused) -> None:
    refused(make_jwt(exp=None))
    refused(signed({"alg": "HS256"}, {**make_claims(), "exp": None}))


def test_an_expiry_beyond_what_a_float_can_hold(refused: Refused) -> None:
    refused(signed({"alg": "HS256"}, make_claims(exp=float("inf"))))
    refused(signed({"alg": "HS256"}, make_claims(exp=float("nan"))))


def test_a_token_for_later(refused: Refused) -> None:
    refused(make_jwt(nbf=int(time.time()) + 60))
    refused(make_jwt(iat=int(time.time()) + 60))


def test_no_subject(refused: Refused) -> None:
    refused(make_jwt(sub=None))
    refused(signed({"alg": "HS256"}, {**make_claims(), "sub": None}))


@pytest.mark.parametrize("subject", ["", " ", "a" * 256, "a\x00b", "a\nb", "\ud800", 5, True, ["a"], {"a": 1}])
def test_a_subject_that_cannot_be_stored(refused: Refused, subject: object) -> None:
    refused(signed({"alg": "HS256"}, make_claims(sub=subject)))


@pytest.mark.parametrize("claims", [[], "text", 5, None, True, b"not json", b"\xff\xfe", b""])
def test_a_signed_payload_that_is_no_object(refused: Refused, claims: object) -> None:
    refused(signed({"alg": "HS256"}, claims))


@pytest.mark.parametrize("header", [[], "text", 5, None, b"not json", b"\xff", b"", b"[" * 4000, b'{"a":' * 1200])
def test_a_header_that_the_parser_cannot_take(refused: Refused, header: object) -> None:
    refused(f"{segment(header)}.{segment(make_claims())}.{segment(b'x' * 32)}")


def test_a_signed_payload_that_is_nested_too_deep(refused: Refused) -> None:
    refused(signed({"alg": "HS256"}, b"[" * 4000))


def test_a_number_with_too_many_digits(refused: Refused) -> None:
    refused(signed({"alg": "HS256"}, b'{"exp":' + b"9" * 5000 + b"}"))


def test_a_detached_payload(refused: Refused) -> None:
    refused(signed({"alg": "HS256", "b64": False, "crit": ["b64"]}, make_claims()))
    refused(signed({"alg": "HS256", "crit": ["unheard-of"]}, make_claims()))


def test_an_encrypted_token_or_one_with_other_dots(refused: Refused) -> None:
    token = make_jwt()
    refused(f"{token}.x.y")
    refused(f"{token}.")
    refused(f".{token}")
    refused("..")


def test_a_right_token_where_no_provider_is_configured(refused: Refused, settings: Any) -> None:
    token = make_jwt()
    settings.AUTH_JWT_SECRET = ""
    refused(token)
    refused(signed({"alg": "HS256"}, make_claims(), secret=""))

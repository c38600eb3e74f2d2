"""Which keys of a set are used, and for what."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from users.key_sets import KEYS_MAX, NotAKeySet, matching, usable_keys
from users.tests.identity_provider import ec_key, jwk, rsa_key
from users.tests.makers import segment


def usable(*keys: Any) -> list[tuple[str | None, str]]:
    return [(key.kid, key.algorithm) for key in usable_keys({"keys": list(keys)})]


def test_rsa_keys_are_for_rs256_and_p256_keys_for_es256() -> None:
    rsa, point = jwk(rsa_key(), "r", alg="RS256"), jwk(ec_key(), "e", alg="ES256")
    assert usable(rsa, point, jwk(rsa_key("second"), None, use=None)) == [
        ("r", "RS256"),
        ("e", "ES256"),
        (None, "RS256"),
    ]
    found = usable_keys({"keys": [rsa, point], "issuer": "x"})
    assert [key.key for key in found] == [rsa_key().public_key(), ec_key().public_key()]


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"use": ["sig"]},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"alg": "RS512"},
        {"alg": "PS256"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "ES256"},
        {"alg": 5},
        {"kid": 5},
        {"kid": ["rsa-1"]},
        {"kty": "EC"},
        {"kty": "oct"},
        {"kty": ["RSA"]},
        {"n": 5},
        {"n": ""},
        {"n": "!!"},
        {"n": "ü"},
        {"e": None},
        {"e": "AQ"},
        {"e": "Ag"},
        {"d": "AQAB"},
    ],
)
def test_a_key_that_is_for_something_else_or_no_key_is_left_out(members: dict[str, Any]) -> None:
    assert usable(jwk(rsa_key(), **members), jwk(ec_key(), "good")) == [("good", "ES256")]


def test_key_ops_with_verify_is_good() -> None:
    assert usable(jwk(rsa_key(), "r", key_ops=["verify"], use=None)) == [("r", "RS256")]


def test_weak_and_huge_rsa_keys_are_left_out() -> None:
    huge = segment(bytes([0xFF]) * 1025)
    assert usable(jwk(rsa_key("weak", bits=1024)), jwk(rsa_key(), n=huge)) == []


@pytest.mark.parametrize("curve", [ec.SECP384R1, ec.SECP521R1, ec.SECP256K1])
def test_other_curves_are_left_out_also_where_they_claim_to_be_p256(curve: type[ec.EllipticCurve]) -> None:
    other = ec_key(curve=curve)
    assert usable(jwk(other), jwk(other, crv="P-256"), jwk(other, crv="P-256", alg="ES256")) == []


def test_a_point_that_is_not_on_the_curve_is_left_out() -> None:
    assert usable(jwk(ec_key(), y=jwk(ec_key("second"))["y"])) == []


def test_symmetric_and_unheard_of_keys_are_left_out() -> None:
    secret = {"kty": "oct", "k": segment(b"s" * 32), "alg": "HS256", "use": "sig", "kid": "rsa-1"}
    edwards = {"kty": "OKP", "crv": "Ed25519", "x": segment(b"x" * 32), "kid": "o"}
    assert usable(secret, {**secret, "alg": "RS256"}, edwards, {"kty": "AKP"}, {}, None, 5, "x", []) == []


@pytest.mark.parametrize("document", [None, [], "keys", 5, {}, {"keys": None}, {"keys": {}}, {"keys": "x"}])
def test_what_is_no_key_set_is_told_apart_from_an_empty_one(document: object) -> None:
    with pytest.raises(NotAKeySet):
        usable_keys(document)
    assert usable() == []


def test_no_more_keys_are_read_than_a_provider_can_have() -> None:
    assert usable(*[{}] * KEYS_MAX, jwk(rsa_key())) == []


def test_a_token_means_the_key_of_its_kid_and_its_algorithm() -> None:
    # RFC 7517, section 4.5: keys of different types may share a kid.
    keys = usable_keys({"keys": [jwk(rsa_key(), "a"), jwk(ec_key(), "a"), jwk(rsa_key("second"), "b")]})
    assert matching(keys, kid="a", algorithm="RS256") == keys[0]
    assert matching(keys, kid="a", algorithm="ES256") == keys[1]
    assert matching(keys, kid="b", algorithm="ES256") is None
    assert matching(keys, kid="A", algorithm="RS256") is None
    assert matching(keys, kid="", algorithm="RS256") is None


def test_without_a_kid_only_the_one_key_of_the_algorithm_is_meant() -> None:
    keys = usable_keys({"keys": [jwk(rsa_key(), "a"), jwk(ec_key(), "a"), jwk(rsa_key("second"), "b")]})
    assert matching(keys, kid=None, algorithm="RS256") is None
    assert matching(keys, kid=None, algorithm="ES256") == keys[1]


def test_two_keys_with_one_kid_mean_none_but_a_key_listed_twice_is_one() -> None:
    first, second = jwk(rsa_key(), "a"), jwk(rsa_key("second"), "a")
    assert matching(usable_keys({"keys": [first, second]}), kid="a", algorithm="RS256") is None
    assert len(usable_keys({"keys": [first, first]})) == 1

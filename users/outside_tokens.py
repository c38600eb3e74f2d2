"""Tokens of an outside identity provider: JWTs signed with a secret that we share, or with a key that it publishes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from django.conf import settings
from django.core.exceptions import ValidationError

from users import key_sets
from users.addresses import validate_address
from users.provider_keys import provider_keys

# The one algorithm for which AUTH_JWT_SECRET is the key. Those of AUTH_JWKS_URL are `key_sets.ALGORITHMS`.
SYMMETRIC_ALGORITHM = "HS256"
NAME_MAX_LENGTH = 255
# How far the provider's clock may run ahead of ours. An expired token has no such grace.
CLOCK_SKEW_S = 10


class OutsideTokenInvalid(Exception):
    """The message is one sentence that its bearer may read. By default it does not say which part was wrong."""

    def __init__(self, message: str = "The token's signature or its claims are not valid here.") -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class OutsideToken:
    """What a verified token says. The pair of issuer and subject is the person; the e-mail is only hearsay."""

    issuer: str
    subject: str
    email: str | None


def read(token: str, *, now: float | None = None) -> OutsideToken:
    """Verify a token and return what it says.

    Raises: OutsideTokenInvalid; IdentityProviderUnavailable while the provider's keys cannot be had.
    """
    claims = _verified_claims(token)
    _check_times(claims, now=time.time() if now is None else now)
    issuer = "" if claims.get("iss") is None else claims["iss"]
    if issuer != "":
        _check_name(issuer, claim="iss")
    _check_name(claims["sub"], claim="sub")
    return OutsideToken(issuer=issuer, subject=claims["sub"], email=_email(claims))


def _verified_claims(token: str) -> dict[str, Any]:
    if not (settings.AUTH_JWT_SECRET or settings.AUTH_JWKS_URL):
        raise OutsideTokenInvalid("This service takes no tokens of an outside identity provider.")
    options: jwt.types.Options = {
        "require": ["exp", "sub"],
        "verify_aud": bool(settings.AUTH_JWT_AUDIENCE),
        # Times are checked by us: PyJWT takes "123" and true for times, and has one leeway for all three.
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
    }
    try:
        algorithm, key = _verifying(jwt.get_unverified_header(token))
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=settings.AUTH_JWT_AUDIENCE or None,
            issuer=settings.AUTH_JWT_ISSUER or None,
            options=options,
        )
    # The header is parsed before the signature is verified, so anyone can nest it deeper than the JSON parser goes.
    except (jwt.PyJWTError, RecursionError):
        raise OutsideTokenInvalid from None


def _verifying(header: dict[str, Any]) -> tuple[str, str | RSAPublicKey | EllipticCurvePublicKey]:
    """The algorithm and the key that verify a token with this header, of which nothing is verified yet.

    The header chooses between what the operator configured, and each algorithm has its own kind of key: the secret
    verifies HS256 and nothing else, a published key only the algorithm that its type implies. Keys that the header
    brings along or points to (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
    """
    algorithm = header.get("alg")
    # Extensions that must be understood (RFC 7515, section 4.1.11); we know none.
    if "crit" in header:
        raise OutsideTokenInvalid
    if algorithm == SYMMETRIC_ALGORITHM and settings.AUTH_JWT_SECRET:
        return algorithm, settings.AUTH_JWT_SECRET
    if algorithm in key_sets.ALGORITHMS and settings.AUTH_JWKS_URL:
        found = provider_keys(settings.AUTH_JWKS_URL).find(kid=header.get("kid"), algorithm=algorithm)
        if found is not None:
            return found.algorithm, found.key
    raise OutsideTokenInvalid


def _check_times(claims: dict[str, Any], *, now: float) -> None:
    for claim in ("exp", "nbf", "iat"):
        if claim in claims and not _is_time(claims[claim]):
            raise OutsideTokenInvalid(f"The token's {claim} is not a time.")
    if claims["exp"] <= now:
        raise OutsideTokenInvalid("The token has expired.")
    if max(claims.get("nbf", 0), claims.get("iat", 0)) > now + CLOCK_SKEW_S:
        raise OutsideTokenInvalid("The token is not valid yet.")


def _is_time(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _check_name(value: object, *, claim: str) -> None:
    """Text that the database can hold: not too long, no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or not value.strip() or len(value) > NAME_MAX_LENGTH or not value.isprintable():
        raise OutsideTokenInvalid(f"The token's {claim} is not a name of 1 to {NAME_MAX_LENGTH} printable characters.")


def _email(claims: dict[str, Any]) -> str | None:
    """The address, unless it is malformed or the provider itself says that it is not verified."""
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is False:
        return None
    try:
        validate_address(email)
    except ValidationError:
        return None
    return email

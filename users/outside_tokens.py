"""Tokens of an outside identity provider: JWTs signed with a secret that we share (HS256)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import jwt
from django.conf import settings
from django.core.exceptions import ValidationError

from users.addresses import validate_address

# The one algorithm that we verify. What the token's own header asks for counts for nothing.
ALGORITHM = "HS256"
NAME_MAX_LENGTH = 255
# How far the provider's clock may run ahead of ours. An expired token has no such grace.
CLOCK_SKEW_S = 10


class OutsideTokenInvalid(Exception):
    """The message is one sentence that its bearer may read."""


@dataclass(frozen=True, slots=True)
class OutsideToken:
    """What a verified token says. The pair of issuer and subject is the person; the e-mail is only hearsay."""

    issuer: str
    subject: str
    email: str | None


def read(token: str, *, now: float | None = None) -> OutsideToken:
    """Verify a token and return what it says.

    Raises: OutsideTokenInvalid.
    """
    claims = _verified_claims(token)
    _check_times(claims, now=time.time() if now is None else now)
    issuer = "" if claims.get("iss") is None else claims["iss"]
    if issuer != "":
        _check_name(issuer, claim="iss")
    _check_name(claims["sub"], claim="sub")
    return OutsideToken(issuer=issuer, subject=claims["sub"], email=_email(claims))


def _verified_claims(token: str) -> dict[str, Any]:
    if not settings.AUTH_JWT_SECRET:
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
        return jwt.decode(
            token,
            settings.AUTH_JWT_SECRET,
            algorithms=[ALGORITHM],
            audience=settings.AUTH_JWT_AUDIENCE or None,
            issuer=settings.AUTH_JWT_ISSUER or None,
            options=options,
        )
    # The header is parsed before the signature is verified, so anyone can nest it deeper than the JSON parser goes.
    except (jwt.PyJWTError, RecursionError):
        raise OutsideTokenInvalid("The token's signature or its claims are not valid here.") from None


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

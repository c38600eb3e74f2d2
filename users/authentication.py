"""Who is calling? A bearer token is a login token of ours (opaque, django-rest-knox), an API key or an outside JWT."""

from __future__ import annotations

import re
from hmac import compare_digest
from typing import TypeAlias

import structlog
from django.utils import timezone
from knox.crypto import hash_token
from knox.models import AuthToken
from knox.settings import CONSTANTS
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from users import api_keys, identities, outside_tokens
from users.models import ApiKey, User
from users.outside_tokens import OutsideToken, OutsideTokenInvalid

SCHEME = "Bearer"
TOKEN_MAX_LENGTH = 8192
# RFC 6750's b64token; nothing else reaches a parser or the database.
_HEADER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)


Credential: TypeAlias = AuthToken | OutsideToken | ApiKey


class TokenInvalid(AuthenticationFailed):
    default_code = "token_invalid"
    default_detail = "This token is not valid."


class BearerAuthentication(BaseAuthentication):
    """One database query for a valid token, none without one."""

    def authenticate(self, request: Request) -> tuple[User, Credential] | None:
        token = bearer_token(request.META.get("HTTP_AUTHORIZATION", ""))
        if token is None:
            return None
        user, credential = _known(token)
        if not user.is_active:
            raise TokenInvalid("This account is not active.")
        structlog.contextvars.bind_contextvars(user_id=str(user.pk))
        return user, credential

    def authenticate_header(self, request: Request) -> str:
        return SCHEME


def bearer_token(header: str) -> str | None:
    """The token of an Authorization header; None where there is none or it is of another scheme.

    Raises: TokenInvalid for a bearer header that is malformed.
    """
    scheme = header.strip(" ").partition(" ")[0]
    if scheme.lower() != SCHEME.lower():
        return None
    match = _HEADER.fullmatch(header.strip(" "))
    if match is None or len(match[1]) > TOKEN_MAX_LENGTH:
        raise TokenInvalid("Expected `Authorization: Bearer <token>` with one token.")
    return match[1]


def _known(token: str) -> tuple[User, Credential]:
    """Login tokens are hexadecimal; the parts of a JWT are joined by dots."""
    if token.startswith(api_keys.MARK):
        return _machine(token)
    return _outside(token) if "." in token else _ours(token)


def _machine(key: str) -> tuple[User, ApiKey]:
    found = api_keys.find(key)
    if found is None:
        raise TokenInvalid("This API key is not known, was revoked or has expired.")
    return found.user, found


def _outside(token: str) -> tuple[User, OutsideToken]:
    try:
        credential = outside_tokens.read(token)
    except OutsideTokenInvalid as error:
        raise TokenInvalid(str(error)) from None
    return identities.user_of(credential), credential


def _ours(token: str) -> tuple[User, AuthToken]:
    """Find a login token in one query.

    knox's own class reads, and deletes, all of the user's expired tokens on each request; ours go at the next login.
    """
    digest = hash_token(token)
    candidates = AuthToken.objects.filter(token_key=token[: CONSTANTS.TOKEN_KEY_LENGTH]).select_related("user")
    for candidate in candidates:
        if compare_digest(digest, candidate.digest):
            if candidate.expiry is not None and candidate.expiry <= timezone.now():
                raise TokenInvalid("The token has expired.")
            return candidate.user, candidate
    raise TokenInvalid

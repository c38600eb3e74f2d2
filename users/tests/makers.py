"""What tests of every app need to have somebody who calls."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
from knox.models import AuthToken

from users.models import User

SECRET = "a-secret-that-we-share-with-the-provider-0123456789"  # noqa: S105
AUDIENCE = "tallyroom"
ISSUER = "https://id.example.com"
PASSWORD = "correct horse battery staple"  # noqa: S105


def make_user(email: str = "alice@example.com", *, password: str | None = None, **fields: Any) -> User:
    return User.objects.create_user(email=email, password=password, **fields)


def make_token(user: User) -> str:
    """A login token of ours, without the password that it would take over HTTP."""
    _, token = AuthToken.objects.create(user=user)
    return str(token)


def make_claims(**changes: Any) -> dict[str, Any]:
    """Claims that are valid as they are; a change to None leaves the claim out."""
    claims = {"sub": "alice-at-idp", "aud": AUDIENCE, "iss": ISSUER, "exp": int(time.time()) + 600, **changes}
    return {name: value for name, value in claims.items() if value is not None}


def make_jwt(*, secret: str = SECRET, **changes: Any) -> str:
    return jwt.encode(make_claims(**changes), secret, algorithm="HS256")


def segment(value: object) -> str:
    """One part of a JWT made by hand, for what PyJWT refuses to write."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

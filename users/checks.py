"""System checks of what this app is configured with."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

# RFC 7518, section 3.2: a key of at least the hash's size.
HS256_SECRET_MIN_BYTES = 32


@register("security")
def check_jwt_secret(**_: Any) -> list[CheckMessage]:
    """A short secret can be found offline from any one token, and with it every account."""
    size_bytes = len(settings.AUTH_JWT_SECRET.encode())
    if size_bytes == 0 or size_bytes >= HS256_SECRET_MIN_BYTES:
        return []
    return [
        Error(
            f"AUTH_JWT_SECRET has {size_bytes} bytes; HS256 needs at least {HS256_SECRET_MIN_BYTES}.",
            hint="Use the identity provider's own secret, or e.g. `openssl rand -hex 32`.",
            id="users.E001",
        )
    ]

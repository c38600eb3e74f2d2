"""Webhook secrets: made here, kept encrypted, opened to sign.

A signature needs the secret itself, so a digest will not do. The key is derived from SECRET_KEY: a copy of the database
alone signs nothing. Older keys in SECRET_KEY_FALLBACKS still open what they sealed.
"""

from __future__ import annotations

import base64
import secrets

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes

MARK = "whsec_"
# What Standard Webhooks asks for is 24 to 64 bytes.
_RANDOM_BYTES = 32
_SHOWN_CHARACTERS = len(MARK) + 4


class SecretUnreadable(Exception):
    """It was sealed under a SECRET_KEY that this process does not know."""


def new_secret() -> str:
    return MARK + base64.b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode()


def shown_part(secret: str) -> str:
    """Enough to tell secrets apart, too little to guess one: 24 bits of 256 are given away."""
    return secret[:_SHOWN_CHARACTERS]


def seal(secret: str) -> str:
    return _box().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """Raises: SecretUnreadable."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise SecretUnreadable from None


def _box() -> MultiFernet:
    return MultiFernet([Fernet(_key(key)) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _key(secret_key: str | bytes) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tallyroom webhook secrets").derive(
        force_bytes(secret_key)
    )
    return base64.urlsafe_b64encode(derived)

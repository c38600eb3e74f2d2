"""E-mail addresses: which we take, and the stand-in for people of whom we know none."""

from __future__ import annotations

from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

ADDRESS_MAX_LENGTH = 254
# RFC 2606 keeps `.invalid` out of the DNS for ever, so nobody can receive mail there.
PLACEHOLDER_DOMAIN = "identity.invalid"


def validate_address(address: str) -> None:
    """Refuse what is no address, what is not ASCII, and our own placeholders.

    ASCII only, because PostgreSQL and Python fold other letters differently, and two people would share one address
    in one of the two. An international domain is written in its `xn--` form.
    """
    if not address.isascii():
        raise ValidationError("Enter the address in ASCII (an international domain as xn--…).", code="invalid")
    if len(address) > ADDRESS_MAX_LENGTH:
        raise ValidationError(f"At most {ADDRESS_MAX_LENGTH} characters.", code="max_length")
    validate_email(address)
    if "=?" in address:
        # Mail programs decode it (RFC 2047), and line breaks may come out of it.
        raise ValidationError("Enter the address without encoded words.", code="invalid")
    if is_placeholder(address):
        raise ValidationError("This domain is reserved.", code="reserved")


def placeholder(user_id: UUID) -> str:
    return f"{user_id}@{PLACEHOLDER_DOMAIN}"


def is_placeholder(address: str) -> bool:
    return address.lower().endswith(f"@{PLACEHOLDER_DOMAIN}")

"""Keys for machines: named, shown once, stored as a digest, revoked one by one.

A key is 32 random bytes, so a plain SHA-256 of it cannot be guessed back; a slow hash would cost each request.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.request import Request

from config.core.errors import NotFound, ValidationFailed
from users.models import ApiKey, User
from users.staff_log import record

# Tells a key from login tokens, which are hexadecimal, and from JWTs, which have dots; scanners of leaks look for it.
MARK = "tally_"
_SHOWN_CHARACTERS = len(MARK) + 6
_RANDOM_BYTES = 32
# Enough for every machine that somebody has; a program that makes one a minute is stopped before long.
KEYS_MAX = 100


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key in clear, which exists here and in the answer only."""

    row: ApiKey
    key: str


def issue(user: User, *, name: str, expires_at: datetime | None = None) -> IssuedKey:
    """Make a key. Raises: ValidationFailed for an end in the past, or where the user has `KEYS_MAX` of them."""
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationFailed("A key must end in the future.", field="expires_at", error_code="in_the_past")
    if keys_of(user).count() >= KEYS_MAX:
        raise ValidationFailed(f"At most {KEYS_MAX} keys; revoke one first.", field="name", error_code="too_many")
    key = MARK + secrets.token_urlsafe(_RANDOM_BYTES)
    row = ApiKey.objects.create(
        user=user, name=name, prefix=key[:_SHOWN_CHARACTERS], digest=_digest(key), expires_at=expires_at
    )
    return IssuedKey(row, key)


def find(key: str) -> ApiKey | None:
    """The key that is in force, with its user; one query. The digest is what is compared, by the database."""
    in_force = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))
    return ApiKey.objects.select_related("user").filter(in_force, digest=_digest(key)).first()


def keys_of(user: User) -> QuerySet[ApiKey]:
    """What the user has not revoked, ended ones too."""
    return ApiKey.objects.filter(user=user, revoked_at=None)


def revoke(user: User, key_id: UUID) -> None:
    """End a key at once. Its row stays, for what it was used for. Raises: NotFound."""
    if not keys_of(user).filter(id=key_id).update(revoked_at=Now()):
        raise NotFound


def revoke_by_staff(key: ApiKey, *, actor: UUID | str | None) -> bool:
    """End anybody's key at once, and say who did. False where it had been revoked."""
    with transaction.atomic():
        revoked = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now())
        if revoked:
            record(key, f"API key {key.prefix}… of user {key.user_id}: revoked.", actor=actor)
        return bool(revoked)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def key_id_of(request: Request) -> UUID | None:
    """The key that a request was made with; None where it showed another kind of token."""
    return request.auth.id if isinstance(request.auth, ApiKey) else None

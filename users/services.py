"""Accounts and login tokens: every write of this app that a request asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.contrib.auth import authenticate
from django.db import IntegrityError, transaction
from django.utils import timezone
from knox.models import AuthToken

from config.core.errors import ValidationFailed
from users import api_keys
from users.errors import SignupDisabled
from users.models import ApiKey, User
from users.outside_tokens import OutsideToken


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A login token in clear, which exists here and in the answer only; the database keeps a digest."""

    token: str
    expires_at: datetime | None


def ensure_signup_is_open() -> None:
    """Raises: SignupDisabled."""
    if not settings.AUTH_ALLOW_SIGNUP:
        raise SignupDisabled


def register(*, email: str, password: str) -> User:
    """Make an account.

    Raises: SignupDisabled; ValidationFailed when somebody has the address, in whatever case.
    """
    ensure_signup_is_open()
    taken = ValidationFailed("A user with this e-mail address exists.", field="email", error_code="unique")
    # Asked first, because the hash below is expensive on purpose; the constraint decides between two at once.
    if User.objects.with_address(email).exists():
        raise taken
    try:
        with transaction.atomic():
            return User.objects.create_user(email=email, password=password)
    except IntegrityError:
        raise taken from None


def log_in(*, email: str, password: str) -> IssuedToken | None:
    """Issue a token, None for wrong credentials.

    Unknown address, wrong password and inactive account cannot be told apart, by time neither: Django hashes once in
    each of these cases.
    """
    user = authenticate(email=email, password=password)
    if not isinstance(user, User):
        return None
    AuthToken.objects.filter(user=user, expiry__lte=timezone.now()).delete()
    row, token = AuthToken.objects.create(user=user)
    return IssuedToken(token=token, expires_at=row.expiry)


def log_out(credential: AuthToken | OutsideToken | ApiKey) -> None:
    """Revoke the token or key that the request came with, and no other.

    Raises: ValidationFailed for an outside token, which only its issuer can end.
    """
    if isinstance(credential, OutsideToken):
        raise ValidationFailed(
            "This token was issued by an outside identity provider, so it cannot be revoked here.", field="token"
        )
    if isinstance(credential, ApiKey):
        api_keys.revoke(credential.user, credential.pk)
        return
    AuthToken.objects.filter(pk=credential.pk).delete()


def revoke_tokens(user: User) -> None:
    """End all of a user's logins: whoever had the old password must not go on with a token of it."""
    AuthToken.objects.filter(user=user).delete()

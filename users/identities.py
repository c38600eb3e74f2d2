"""From an outside token to the user it stands for; the first valid token makes the user."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from config.core.ids import uuid7
from users.addresses import placeholder
from users.models import ExternalIdentity, User
from users.outside_tokens import OutsideToken


def user_of(token: OutsideToken) -> User:
    """The user behind a verified token, made now if this is the first.

    Many first tokens at once make one user: those that lose at the constraint find the winner's.
    """
    found = _find(token)
    if found is not None:
        return found
    # The second round is for an address that somebody has: it never links the two, so a placeholder takes its place.
    for email in (token.email, None):
        try:
            return _make(token, email=email)
        except IntegrityError:
            found = _find(token)
            if found is not None:
                return found
            if email is None:
                raise
    raise AssertionError("unreachable")


def _find(token: OutsideToken) -> User | None:
    identities = ExternalIdentity.objects.select_related("user")
    try:
        return identities.get(issuer=token.issuer, subject=token.subject).user
    except ExternalIdentity.DoesNotExist:
        return None


def _make(token: OutsideToken, *, email: str | None) -> User:
    user_id = uuid7()
    with transaction.atomic():
        user = User.objects.create_user(id=user_id, email=email or placeholder(user_id))
        ExternalIdentity.objects.create(user=user, issuer=token.issuer, subject=token.subject)
    return user

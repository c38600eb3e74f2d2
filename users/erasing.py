"""What identifies a person, taken off an account. The row stays: money rows carry its id, which names nobody."""

from __future__ import annotations

from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import QuerySet
from knox.models import AuthToken

from users.addresses import placeholder
from users.models import ApiKey, ExternalIdentity, User

ERASED = "erased"


def close_account(user_id: UUID) -> None:
    """Nobody gets in any more: the account is switched off, its tokens, keys and outside identities are gone.

    Idempotent.
    """
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=user_id)
        user.set_unusable_password()
        user.is_active = user.is_staff = user.is_superuser = False
        user.save(update_fields=["password", "is_active", "is_staff", "is_superuser"])
        user.groups.clear()
        user.user_permissions.clear()
        keys = [str(pk) for pk in ApiKey.objects.filter(user=user).values_list("pk", flat=True)]
        # A key's name may be its owner's, and stands in what staff did to it.
        _entries_about(ApiKey).filter(object_id__in=keys).update(object_repr=ERASED)
        for model in (AuthToken, ApiKey, ExternalIdentity):
            model.objects.filter(user=user).delete()


def anonymise(user_id: UUID) -> None:
    """A stand-in in place of the address, and no name: in the row, and where staff's doings repeat it. Idempotent."""
    with transaction.atomic():
        stand_in = placeholder(user_id)
        User.objects.filter(pk=user_id).update(email=stand_in, display_name="", last_login=None)
        _entries_about(User).filter(object_id=str(user_id)).update(object_repr=stand_in, change_message="")


def _entries_about(model: type[User | ApiKey]) -> QuerySet[LogEntry]:
    return LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(model))

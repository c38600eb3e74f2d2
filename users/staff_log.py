"""What staff did, in Django's LogEntry, in the transaction that did it: by the admin and over HTTP alike."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model

from users.models import User

__all__ = ["ADDITION", "CHANGE", "DELETION", "LoggedByServices", "record"]
_REPR_MAX = 200


def record(about: Model | type[Model], message: str, *, actor: str | UUID | None, flag: int = CHANGE) -> None:
    """Say what `actor`, a user's id, did to a row, or, where no single row is meant, to rows of a model.

    What a command does has its name as the actor. That is no user's, so there is no entry: its name is on the row.
    """
    staff_id = _user_id(actor)
    if staff_id is None or not User.objects.filter(pk=staff_id).exists():
        return
    row = about if isinstance(about, Model) else None
    LogEntry.objects.create(
        user_id=staff_id,
        content_type=ContentType.objects.get_for_model(about, for_concrete_model=False),
        object_id=None if row is None else str(row.pk),
        object_repr=str(row if row is not None else about._meta.verbose_name_plural)[:_REPR_MAX],
        action_flag=flag,
        change_message=message,
    )


def _user_id(actor: str | UUID | None) -> UUID | None:
    try:
        return UUID(str(actor))
    except ValueError:
        return None


class LoggedByServices(admin.ModelAdmin):  # type: ignore[type-arg]
    """For admin pages whose services write the entry themselves: Django's own would say it a second time, in less."""

    def log_addition(self, request: Any, obj: Any, message: Any) -> Any:
        return None

    def log_change(self, request: Any, obj: Any, message: Any) -> Any:
        return None

    def log_deletions(self, request: Any, queryset: Any) -> Any:
        return None

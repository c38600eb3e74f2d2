"""Money in the admin is read-only: what corrects it goes through the ledger, with a reason."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from config.core.admin_lists import KeysetAdmin


def with_owner(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Each row with its user's e-mail, as `owner_email`."""
    users = get_user_model().objects.filter(pk=OuterRef("user_id"))
    found: QuerySet[Any] = rows.annotate(owner_email=Subquery(users.values("email")[:1]))
    return found


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Looks, never touches."""

    show_full_result_count = False
    list_per_page = 50
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the owner's e-mail, for rows that carry a user id: no foreign key leads out of billing to join by."""
        rows = super().get_queryset(request)
        return with_owner(rows) if "owner" in self.list_display else rows

    @admin.display(description="user", ordering="user_id")
    def owner(self, row: Any) -> str:
        return row.owner_email or str(row.user_id)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class GrowingTableAdmin(KeysetAdmin, ReadOnlyAdmin):
    """For tables that grow with every turn: keyset pages, nothing counted."""

    sortable_by = ()

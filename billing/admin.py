"""Money in the admin is read-only: what corrects it goes through the ledger, with a reason."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from billing.models import CreditAllocation, CreditGrant, CreditHold, CreditTransaction, CreditWallet, LLMCallEvent


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Looks, never touches. Pages do not count their tables, which grow without end."""

    show_full_result_count = False
    list_per_page = 50
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the owner's e-mail, for rows that carry a user id: no foreign key leads out of billing to join by."""
        rows = super().get_queryset(request)
        if "owner" not in self.list_display:
            return rows
        users = get_user_model().objects.filter(pk=OuterRef("user_id"))
        with_owner: QuerySet[Any] = rows.annotate(owner_email=Subquery(users.values("email")[:1]))
        return with_owner

    @admin.display(description="user", ordering="user_id")
    def owner(self, row: Any) -> str:
        return row.owner_email or str(row.user_id)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(CreditWallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ("owner", "balance", "held", "last_seq", "next_expiry_at", "updated_at")
    search_fields = ("=user_id",)
    search_help_text = "user id"
    ordering = ("-id",)


@admin.register(CreditTransaction)
class TransactionAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "owner", "seq", "kind", "amount", "balance_after", "reason", "initiated_by")
    list_filter = ("kind",)
    search_fields = ("=user_id", "=reference_id")
    search_help_text = "user id or reference id"
    ordering = ("-id",)


@admin.register(LLMCallEvent)
class EventAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "owner", "purpose", "model_alias", "status", "input_tokens_fresh", "input_tokens_cached",
        "output_tokens", "multiplier", "credits_charged", "usage_source",
    )  # fmt: skip
    list_filter = ("status", "purpose", "usage_source")
    search_fields = ("=user_id", "=turn_id")
    search_help_text = "user id or turn id"
    ordering = ("-id",)


@admin.register(CreditHold)
class HoldAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "owner", "reference_type", "reference_id", "amount", "status", "charged")
    list_filter = ("status",)
    search_fields = ("=user_id", "=reference_id")
    ordering = ("-id",)


@admin.register(CreditGrant)
class GrantAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "owner", "kind", "amount", "remaining", "priority", "expires_at", "campaign")
    list_filter = ("kind",)
    search_fields = ("=user_id", "campaign")
    ordering = ("-id",)


@admin.register(CreditAllocation)
class AllocationAdmin(ReadOnlyAdmin):
    list_display = ("id", "entry_id", "grant_id", "amount")
    search_fields = ("=entry__id", "=grant__id")
    ordering = ("-id",)

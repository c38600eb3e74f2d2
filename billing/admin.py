"""Money in the admin is read-only: what corrects it goes through the ledger, with a reason."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from billing.models import CreditAllocation, CreditGrant, CreditHold, CreditTransaction, CreditWallet, LLMCallEvent


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Looks, never touches. Pages do not count their tables, which grow without end."""

    show_full_result_count = False
    list_per_page = 50
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(CreditWallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ("user_id", "balance", "held", "last_seq", "next_expiry_at", "updated_at")
    search_fields = ("=user_id",)
    search_help_text = "user id"
    ordering = ("-id",)


@admin.register(CreditTransaction)
class TransactionAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "user_id", "seq", "kind", "amount", "balance_after", "reason", "initiated_by")
    list_filter = ("kind",)
    search_fields = ("=user_id", "=reference_id")
    search_help_text = "user id or reference id"
    ordering = ("-id",)


@admin.register(LLMCallEvent)
class EventAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "user_id", "purpose", "model_alias", "status", "input_tokens_fresh", "input_tokens_cached",
        "output_tokens", "multiplier", "credits_charged", "usage_source",
    )  # fmt: skip
    list_filter = ("status", "purpose", "usage_source")
    search_fields = ("=user_id", "=turn_id")
    search_help_text = "user id or turn id"
    ordering = ("-id",)


@admin.register(CreditHold)
class HoldAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "user_id", "reference_type", "reference_id", "amount", "status", "charged")
    list_filter = ("status",)
    search_fields = ("=user_id", "=reference_id")
    ordering = ("-id",)


@admin.register(CreditGrant)
class GrantAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "user_id", "kind", "amount", "remaining", "priority", "expires_at", "campaign")
    list_filter = ("kind",)
    search_fields = ("=user_id", "campaign")
    ordering = ("-id",)


@admin.register(CreditAllocation)
class AllocationAdmin(ReadOnlyAdmin):
    list_display = ("id", "entry_id", "grant_id", "amount")
    search_fields = ("=entry__id", "=grant__id")
    ordering = ("-id",)

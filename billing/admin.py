"""Billing's pages in the admin. Those with more to them than a list live beside what they are about."""

from __future__ import annotations

from django.contrib import admin

from billing import checking_admin, costs_admin, enforcement_admin  # noqa: F401 - they register their pages
from billing.alerts import admin as alerts_admin  # noqa: F401
from billing.corrections import admin as corrections_admin  # noqa: F401
from billing.desk import admin as desk_admin  # noqa: F401
from billing.limits import admin as limits_admin  # noqa: F401
from billing.models import CreditAllocation, CreditHold, LLMCallEvent, ToolCallEvent
from billing.read_only_admin import ReadOnlyAdmin


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


@admin.register(ToolCallEvent)
class ToolEventAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "owner", "agent_key", "tool_name", "status", "error_code", "latency_ms", "result_bytes",
        "credits_charged",
    )  # fmt: skip
    list_filter = ("status", "tool_name")
    search_fields = ("=user_id", "=turn_id")
    search_help_text = "user id or turn id"
    ordering = ("-id",)


@admin.register(CreditHold)
class HoldAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "owner", "reference_type", "reference_id", "amount", "status", "charged")
    list_filter = ("status",)
    search_fields = ("=user_id", "=reference_id")
    ordering = ("-id",)


@admin.register(CreditAllocation)
class AllocationAdmin(ReadOnlyAdmin):
    list_display = ("id", "entry_id", "grant_id", "amount")
    search_fields = ("=entry__id", "=grant__id")
    ordering = ("-id",)

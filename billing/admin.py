"""Billing's pages in the admin. Those with more to them than a list live beside what they are about."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from billing import checking_admin, costs_admin, enforcement_admin  # noqa: F401 - they register their pages
from billing.alerts import admin as alerts_admin  # noqa: F401
from billing.corrections import admin as corrections_admin  # noqa: F401
from billing.desk import admin as desk_admin  # noqa: F401
from billing.limits import admin as limits_admin  # noqa: F401
from billing.models import CreditAllocation, CreditHold, LLMCallEvent, ToolCallEvent
from billing.read_only_admin import GrowingTableAdmin
from billing.simulating import admin as simulating_admin  # noqa: F401


@admin.register(LLMCallEvent)
class EventAdmin(GrowingTableAdmin):
    list_display = (
        "created_at", "owner", "purpose", "model_alias", "status", "input_tokens_fresh", "input_tokens_cached",
        "output_tokens", "multiplier", "credits_charged", "usage_source",
    )  # fmt: skip
    search_filters = ("status", "purpose", "usage_source")
    find_by = ("user_id", "turn_id", "id")
    keyset_of_user = ("created_at", "id")
    search_help_text = "user (id or e-mail), turn id or event id"


class OpenFilter(admin.SimpleListFilter):
    """The open ones have an index of their own; of the others there is one a turn."""

    title = parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Open")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status="open") if self.value() else queryset


@admin.register(ToolCallEvent)
class ToolEventAdmin(GrowingTableAdmin):
    list_display = (
        "created_at", "owner", "agent_key", "tool_name", "status", "error_code", "latency_ms", "result_bytes",
        "credits_charged",
    )  # fmt: skip
    find_by = ("user_id", "turn_id", "id")
    keyset_of_user = ("created_at", "id")
    search_help_text = "user (id or e-mail), turn id or event id"


@admin.register(CreditHold)
class HoldAdmin(GrowingTableAdmin):
    list_display = ("created_at", "owner", "reference_type", "reference_id", "amount", "status", "charged")
    list_filter = (OpenFilter,)
    find_by = ("user_id", "reference_id", "id")
    search_help_text = "user (id or e-mail; what is open), id of a turn or completion, or hold id"

    def found_by(self, queryset: QuerySet[Any], column: str, value: Any) -> QuerySet[Any]:
        if column == "user_id":
            # By the wallet: that is the index, and it has open holds alone.
            return queryset.filter(wallet__user_id=value, status="open")
        if column == "reference_id":
            return queryset.filter(reference_type__in=("turn", "completion"), reference_id=value)
        return super().found_by(queryset, column, value)


@admin.register(CreditAllocation)
class AllocationAdmin(GrowingTableAdmin):
    list_display = ("id", "entry_id", "grant_id", "amount")
    find_by = ("entry_id", "grant_id", "id")
    search_help_text = "id of an entry, a grant or an allocation"

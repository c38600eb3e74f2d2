"""Days' costs in the admin: to be read."""

from __future__ import annotations

from django.contrib import admin

from billing.models import CostDay, CostFinding
from billing.read_only_admin import ReadOnlyAdmin


@admin.register(CostDay)
class CostDayAdmin(ReadOnlyAdmin):
    list_display = (
        "day", "provider", "model_alias", "calls", "credits_charged", "provider_cost_usd", "calls_without_cost",
        "calls_lost", "charges_above_hold",
    )  # fmt: skip
    date_hierarchy = "day"
    search_fields = ("=model_alias", "=provider")
    search_help_text = "alias or provider"
    ordering = ("-day", "provider", "model_alias")


@admin.register(CostFinding)
class CostFindingAdmin(ReadOnlyAdmin):
    list_display = ("day", "kind", "provider", "model_alias", "detail")
    list_filter = ("kind",)
    search_fields = ("=model_alias", "=provider")
    search_help_text = "alias or provider"
    ordering = ("-day", "kind", "provider", "model_alias")

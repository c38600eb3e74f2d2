"""Rooms and turns for staff: to look at. What a turn cost is in billing's pages."""

from __future__ import annotations

from django.contrib import admin

from billing.read_only_admin import ReadOnlyAdmin
from sessions_app.models import Agent, Room, Session, SessionSummary, Turn, TurnContextAudit


@admin.register(Turn)
class TurnAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "owner", "mode", "status", "turn_index", "pricing_version", "error_code")
    list_filter = ("status", "mode")
    search_fields = ("=id", "=user_id", "=session__id")
    search_help_text = "turn, user or session id"
    ordering = ("-id",)
    exclude = ("claim",)


@admin.register(Agent)
class AgentAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "user", "agent_key", "name", "model_alias", "deleted_at")
    list_select_related = ("user",)
    search_fields = ("agent_key", "=user__email")
    ordering = ("-id",)


@admin.register(Room)
class RoomAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "user", "name", "mode", "deleted_at")
    list_select_related = ("user",)
    list_filter = ("mode",)
    search_fields = ("name", "=user__email")
    ordering = ("-id",)


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "user", "room", "title", "deleted_at")
    list_select_related = ("user", "room")
    search_fields = ("=id", "=user__email")
    ordering = ("-id",)


@admin.register(SessionSummary)
class SessionSummaryAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "session", "through_turn_index", "messages", "used_fallback", "fallback_reason")
    list_select_related = ("session",)
    list_filter = ("used_fallback",)
    search_fields = ("=session__id", "=turn__id")
    search_help_text = "session or turn id"
    ordering = ("-id",)


@admin.register(TurnContextAudit)
class TurnContextAuditAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "turn", "strategy", "model_alias", "budget_tokens", "included_messages", "cut_messages",
        "summarised_messages", "summary_used_fallback",
    )  # fmt: skip
    list_select_related = ("turn",)
    list_filter = ("strategy", "summary_used_fallback")
    search_fields = ("=turn__id", "=session__id")
    search_help_text = "turn or session id"
    ordering = ("-id",)

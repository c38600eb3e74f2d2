"""Rooms and turns for staff: to look at. What a turn cost is in billing's pages."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.urls import path

from billing.read_only_admin import GrowingTableAdmin
from sessions_app.models import Agent, Completion, Room, Session, SessionSummary, Turn, TurnContextAudit
from sessions_app.turns.reading import bill
from sessions_app.work_links import MAY_SEE_BILLS
from users.models import User


@admin.register(Turn)
class TurnAdmin(GrowingTableAdmin):
    list_display = ("created_at", "owner", "mode", "status", "turn_index", "pricing_version", "error_code")
    search_filters = ("status", "mode")
    find_by = ("id", "session_id", "user_id")
    search_help_text = "turn or session id, or user (id or e-mail)"
    exclude = ("claim",)
    change_form_template = "admin/sessions_app/turn/change_form.html"

    def get_urls(self) -> list[Any]:
        bill = path("<uuid:pk>/bill/", self.admin_site.admin_view(self.bill), name="sessions_app_turn_bill")
        return [bill, *super().get_urls()]

    def bill(self, request: HttpRequest, pk: UUID) -> TemplateResponse:
        """The itemised bill, as the turn's owner gets it. It tells nothing of what was written."""
        if not request.user.has_perm(MAY_SEE_BILLS):
            raise PermissionDenied
        turn = Turn.objects.filter(pk=pk).first()
        if turn is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "title": f"Bill of turn {turn.turn_index}",
            "opts": self.opts,
            "turn": turn,
            "owner": User.objects.filter(pk=turn.user_id).first(),
            "bill": bill(turn),
            "may_see_turn": self.has_view_permission(request),
        }
        return TemplateResponse(request, "admin/sessions_app/turn/bill.html", context)


@admin.register(Completion)
class CompletionAdmin(GrowingTableAdmin):
    """Calls through the OpenAI-compatible door. Not what they answered."""

    list_display = ("created_at", "owner", "model_alias", "status", "pricing_version", "finished_at")
    find_by = ("id",)
    search_help_text = "completion id"
    exclude = ("claim", "answer")


@admin.register(Agent)
class AgentAdmin(GrowingTableAdmin):
    list_display = ("created_at", "user", "agent_key", "name", "model_alias", "deleted_at")
    list_select_related = ("user",)
    find_by = ("id", "user_id")
    search_help_text = "agent id, or user (id or e-mail)"


@admin.register(Room)
class RoomAdmin(GrowingTableAdmin):
    list_display = ("created_at", "user", "name", "mode", "deleted_at")
    list_select_related = ("user",)
    search_filters = ("mode",)
    find_by = ("id", "user_id")
    search_help_text = "room id, or user (id or e-mail)"


@admin.register(Session)
class SessionAdmin(GrowingTableAdmin):
    list_display = ("created_at", "user", "room", "title", "deleted_at")
    list_select_related = ("user", "room")
    find_by = ("id", "room_id", "user_id")
    search_help_text = "session or room id, or user (id or e-mail)"


@admin.register(SessionSummary)
class SessionSummaryAdmin(GrowingTableAdmin):
    list_display = ("created_at", "session", "through_turn_index", "messages", "used_fallback", "fallback_reason")
    list_select_related = ("session",)
    search_filters = ("used_fallback",)
    find_by = ("session_id", "turn_id")
    search_help_text = "session or turn id"


@admin.register(TurnContextAudit)
class TurnContextAuditAdmin(GrowingTableAdmin):
    list_display = (
        "created_at", "turn", "strategy", "model_alias", "budget_tokens", "included_messages", "cut_messages",
        "summarised_messages", "summary_used_fallback",
    )  # fmt: skip
    list_select_related = ("turn",)
    search_filters = ("strategy", "summary_used_fallback")
    find_by = ("turn_id", "session_id")
    search_help_text = "turn or session id"

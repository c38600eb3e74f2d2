"""Files for staff: what was uploaded and what came of it, to look at. Not what is in them."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from config.core.admin_lists import KeysetAdmin
from files.models import UploadedFile


@admin.register(UploadedFile)
class UploadedFileAdmin(KeysetAdmin):
    list_display = (
        "created_at", "user", "name", "kind", "size_bytes", "parse_status", "parse_error_code", "characters",
    )  # fmt: skip
    search_filters = ("parse_status", "kind", "parse_error_code")
    list_select_related = ("user",)
    find_by = ("id", "room_id", "user_id")
    search_help_text = "file or room id, or user (id or e-mail)"
    exclude = ("claim",)
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

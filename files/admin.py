"""Files for staff: what was uploaded and what came of it, to look at. Not what is in them."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from files.models import UploadedFile


@admin.register(UploadedFile)
class UploadedFileAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "created_at", "user", "name", "kind", "size_bytes", "parse_status", "parse_error_code", "characters",
    )  # fmt: skip
    list_filter = ("parse_status", "kind", "parse_error_code")
    list_select_related = ("user",)
    search_fields = ("=id", "=room_id", "=user__email", "=sha256")
    search_help_text = "file or room id, e-mail or SHA-256"
    ordering = ("-id",)
    exclude = ("claim",)
    show_full_result_count = False
    list_per_page = 50
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

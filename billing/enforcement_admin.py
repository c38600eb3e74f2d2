"""Enforcement in the admin: for the deployment, for single users, and what `hard` would have refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from billing import enforcement
from billing.models import EnforcementOverride, ShadowRefusal, UserEnforcement
from billing.read_only_admin import GrowingTableAdmin, with_owner
from billing.shadow_report import shadow_report
from config.core.admin_lists import KeysetAdmin
from users.models import User
from users.staff_log import LoggedByServices

REPORT_DAYS = 30


@admin.register(EnforcementOverride)
class EnforcementOverrideAdmin(LoggedByServices):
    """At most one row: while it is there it goes before the environment. Deleting it falls back to the environment."""

    list_display = ("enforcement", "updated_by", "updated_at")
    fields = ("enforcement",)
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not EnforcementOverride.objects.exists()

    def save_model(self, request: HttpRequest, obj: EnforcementOverride, form: Any, change: bool) -> None:
        enforcement.set_override(enforcement=obj.enforcement, updated_by=str(request.user.pk))
        obj.pk = EnforcementOverride.objects.values_list("pk", flat=True).get()

    def delete_model(self, request: HttpRequest, obj: EnforcementOverride) -> None:
        enforcement.clear_override(cleared_by=str(request.user.pk))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        now = enforcement.describe()
        title = f"Enforcement in force: {now['enforcement']}"
        subtitle = f"From the {now['source']}; the environment says {now['environment']}."
        return super().changelist_view(request, {**(extra_context or {}), "title": title, "subtitle": subtitle})


class UserEnforcementForm(forms.ModelForm):  # type: ignore[type-arg]
    email = forms.EmailField(label="User", help_text="The e-mail of an account.")

    class Meta:
        model = UserEnforcement
        fields = ("enforcement",)

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        user = User.objects.with_address(email).first()
        if user is None:
            raise forms.ValidationError("There is no such user.")
        self.instance.user_id = user.pk
        return email


@admin.register(UserEnforcement)
class UserEnforcementAdmin(LoggedByServices, KeysetAdmin):
    list_display = ("owner", "enforcement", "updated_by", "updated_at")
    list_filter = ("enforcement",)
    find_by = ("user_id",)
    search_help_text = "user (id or e-mail)"
    # Deleting many at once would go past the service.
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_owner(super().get_queryset(request))

    @admin.display(description="user", ordering="user_id")
    def owner(self, row: Any) -> str:
        return row.owner_email or str(row.user_id)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **kwargs) if obj else UserEnforcementForm

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("owner", "enforcement") if obj else ("email", "enforcement")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("owner",) if obj else ()

    def save_model(self, request: HttpRequest, obj: UserEnforcement, form: Any, change: bool) -> None:
        enforcement.set_for_user(user_id=obj.user_id, enforcement=obj.enforcement, updated_by=str(request.user.pk))
        obj.pk = UserEnforcement.objects.values_list("pk", flat=True).get(user_id=obj.user_id)

    def delete_model(self, request: HttpRequest, obj: UserEnforcement) -> None:
        enforcement.clear_for_user(user_id=obj.user_id, cleared_by=str(request.user.pk))


@admin.register(ShadowRefusal)
class ShadowRefusalAdmin(GrowingTableAdmin):
    """What ran under `warn` and `hard` would have refused."""

    list_display = ("created_at", "owner", "stage", "model_alias", "required", "available", "balance")
    search_filters = ("stage",)
    find_by = ("user_id", "reference_id", "id")
    search_help_text = "user (id or e-mail), or id of a turn or completion"
    keyset = ("created_at", "id")
    date_hierarchy = "created_at"
    change_list_template = "admin/billing/shadowrefusal/change_list.html"

    def found_by(self, queryset: QuerySet[Any], column: str, value: Any) -> QuerySet[Any]:
        if column == "reference_id":
            return queryset.filter(reference_type__in=("turn", "completion"), reference_id=value)
        return super().found_by(queryset, column, value)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        now = timezone.now()
        report = shadow_report(start=now - timedelta(days=REPORT_DAYS), end=now)
        more = {"report": report, "report_days": REPORT_DAYS, "enforcement": enforcement.describe()}
        return super().changelist_view(request, {**(extra_context or {}), **more})

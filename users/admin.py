"""Staff's view of users. Nothing is deleted here: an account is switched off, and its money rows stay."""

from __future__ import annotations

from typing import Any

import knox.admin  # noqa: F401 - registers its own admin, which shows digests, so that it can be replaced below
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from knox.models import AuthToken

from users import services
from users.models import ApiKey, ExternalIdentity, User

# What makes an account mightier. Only a superuser hands it out, else whoever may edit users could promote himself.
POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


class NewUserForm(AdminUserCreationForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ("email",)


class UserForm(UserChangeForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = "__all__"


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg]
    """A new password ends the logins that the old one began."""

    def save(self, commit: bool = True) -> Any:
        user = super().save(commit)
        services.revoke_tokens(user)
        return user


class NothingToWrite:
    """For rows that only the program writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class IdentityInline(NothingToWrite, admin.TabularInline):  # type: ignore[type-arg]
    model = ExternalIdentity
    fields = ("issuer", "subject", "created_at")
    readonly_fields = fields
    extra = 0


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    form = UserForm
    add_form = NewUserForm
    change_password_form = PasswordForm
    list_display = ("email", "display_name", "is_active", "is_staff", "created_at")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email", "display_name")
    ordering = ("-id",)
    show_full_result_count = False
    filter_horizontal = ("groups", "user_permissions")
    readonly_fields = ("id", "last_login", "created_at")
    fieldsets = (
        (None, {"fields": ("id", "email", "display_name", "password")}),
        ("Rights", {"fields": ("is_active", *POWERS)}),
        ("Dates", {"fields": ("last_login", "created_at")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> tuple[type[IdentityInline], ...]:
        return () if obj is None else (IdentityInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else (*fields, *POWERS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Staff below superuser edit customers and themselves, not other staff, whose password they would then know."""
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or request.user.is_superuser or obj == request.user or not (obj.is_staff or obj.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.unregister(AuthToken)


@admin.register(AuthToken)
class AuthTokenAdmin(NothingToWrite, admin.ModelAdmin):  # type: ignore[type-arg]
    """Who is logged in, and until when. A row's page would name the digest in its address, so there is no link."""

    list_display = ("user", "created", "expiry")
    list_display_links = None
    list_select_related = ("user",)
    search_fields = ("user__email",)
    ordering = ("-created",)
    show_full_result_count = False
    fields = list_display


@admin.register(ApiKey)
class ApiKeyAdmin(NothingToWrite, admin.ModelAdmin):  # type: ignore[type-arg]
    """Whose machines may call. A key that has leaked is revoked here; its row stays."""

    list_display = ("prefix", "name", "user", "created_at", "expires_at", "revoked_at")
    list_display_links = None
    list_select_related = ("user",)
    search_fields = ("user__email", "name", "prefix")
    ordering = ("-id",)
    show_full_result_count = False
    fields = list_display
    actions = ("revoke",)

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        count = queryset.filter(revoked_at=None).update(revoked_at=Now())
        self.message_user(request, f"{count} keys are revoked.")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("users.change_apikey")

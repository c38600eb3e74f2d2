"""Staff's view of users. Nothing is deleted here: an account is switched off, and its money rows stay."""

from __future__ import annotations

from typing import Any

import knox.admin  # noqa: F401 - registers its own admin, which shows digests, so that it can be replaced below
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from knox.models import AuthToken

from config.core.admin_lists import KeysetAdmin
from users import api_keys, services
from users.models import ApiKey, ExternalIdentity, User
from users.permissions import may_do_everything

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


class NamedFilters:
    """For pages with boxes in which many are chosen."""

    class Media:
        js = ("users/filter_names.js",)


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
class UserAdmin(NamedFilters, KeysetAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    form = UserForm
    add_form = NewUserForm
    change_password_form = PasswordForm
    list_display = ("email", "display_name", "is_active", "is_staff", "created_at")
    list_filter = ("is_active", "is_staff", "is_superuser")
    ordering = ("-id",)
    find_by = ("email", "id")
    search_help_text = "the beginning of an e-mail address, or a user id"
    filter_horizontal = ("groups", "user_permissions")
    readonly_fields = ("id", "last_login", "created_at")
    fieldsets = (
        (None, {"fields": ("id", "email", "display_name", "password")}),
        ("Rights", {"fields": ("is_active", *POWERS)}),
        ("Dates", {"fields": ("last_login", "created_at")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)

    def found_by(self, queryset: Any, column: str, value: Any) -> QuerySet[Any]:
        return queryset.with_prefix(value) if column == "email" else super().found_by(queryset, column, value)

    def values_of(self, column: str, text: str) -> list[Any]:
        return [text] if column == "email" else super().values_of(column, text)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> tuple[type[IdentityInline], ...]:
        return () if obj is None else (IdentityInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if may_do_everything(request.user) else (*fields, *POWERS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Staff below superuser edit customers and themselves, not other staff, whose password they would then know."""
        if not super().has_change_permission(request, obj):
            return False
        if obj is None or may_do_everything(request.user) or obj == request.user:
            return True
        return not (obj.is_staff or obj.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(NamedFilters, DjangoGroupAdmin):
    """Django's own."""


admin.site.unregister(AuthToken)


@admin.register(AuthToken)
class AuthTokenAdmin(NothingToWrite, KeysetAdmin):
    """Who is logged in, and until when. A row's page would name the digest in its address, so there is no link."""

    list_display = ("user", "created", "expiry")
    list_display_links = None
    list_select_related = ("user",)
    # Not by the primary key, which is the digest.
    keyset = ("created",)
    cursor = "created"
    find_by = ("user_id",)
    search_help_text = "user (id or e-mail)"
    fields = list_display


@admin.register(ApiKey)
class ApiKeyAdmin(NothingToWrite, KeysetAdmin):
    """Whose machines may call. A key that has leaked is revoked here; its row stays."""

    list_display = ("prefix", "name", "user", "created_at", "expires_at", "revoked_at")
    list_display_links = None
    list_select_related = ("user",)
    find_by = ("user_id", "id")
    search_help_text = "user (id or e-mail), or key id"
    fields = list_display
    actions = ("revoke",)

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        revoked = [key for key in queryset if api_keys.revoke_by_staff(key, actor=request.user.pk)]
        self.message_user(request, f"{len(revoked)} keys are revoked.")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("users.change_apikey")

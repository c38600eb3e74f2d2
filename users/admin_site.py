"""The admin site: who may enter, and how often a login to it may fail."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from config.core.errors import RateLimited
from users.login_limits import limited_login
from users.permissions import is_admin


class StaffLoginForm(AdminAuthenticationForm):
    """Staff and whoever is listed in ADMIN_USER_IDS; failures count together with those over HTTP."""

    def clean(self) -> dict[str, Any]:
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email is None or not password or self.request is None:
            return self.cleaned_data
        address = self.request.META.get("REMOTE_ADDR", "")
        log_in = partial(authenticate, self.request, username=email, password=password)
        try:
            self.user_cache = limited_login(log_in, email=email, address=address)
        except RateLimited as refusal:
            raise ValidationError(refusal.detail, code=refusal.code) from None
        if self.user_cache is None:
            raise self.get_invalid_login_error()
        self.confirm_login_allowed(self.user_cache)
        return self.cleaned_data

    def confirm_login_allowed(self, user: Any) -> None:
        if not is_admin(user):
            raise self.get_invalid_login_error()


class StaffSite(AdminSite):
    site_header = site_title = "Tallyroom"
    index_title = "Staff"
    login_form = StaffLoginForm

    def get_urls(self) -> list[Any]:
        """Without "view on site": nothing here has another address, and a wrong id would be an error of ours."""
        return [one for one in super().get_urls() if getattr(one, "name", None) != "view_on_site"]

    def has_permission(self, request: HttpRequest) -> bool:
        return is_admin(request.user)

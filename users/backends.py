"""Django's permissions, and ADMIN_USER_IDS above them: who is listed may do everything, in the admin as over HTTP."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from users.models import User
from users.permissions import is_listed


class StaffBackend(ModelBackend):
    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return _is_listed(user_obj) or super().has_perm(user_obj, perm, obj)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return _is_listed(user_obj) or super().has_module_perms(user_obj, app_label)


def _is_listed(user: Any) -> bool:
    return isinstance(user, User) and user.is_active and is_listed(user)

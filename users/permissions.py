"""What may the caller do? Staff act by Django's permissions; who is listed in ADMIN_USER_IDS may do everything."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from config.core.errors import AdminRequired, PermissionMissing
from users.models import ApiKey, User


def caller(request: Request) -> User:
    """The user of a view that is not open to all.

    Raises: NotAuthenticated.
    """
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


def is_listed(user: User) -> bool:
    """Is the user in ADMIN_USER_IDS, by our id or by the `sub` of an outside identity?"""
    listed = settings.ADMIN_USER_IDS
    if not listed:
        return False
    if str(user.pk) in {name.lower() for name in listed}:
        return True
    # Read once a request: a page of the admin asks for many permissions.
    subjects = user.__dict__.get("_subjects")
    if subjects is None:
        subjects = user.__dict__["_subjects"] = set(user.identities.values_list("subject", flat=True))
    return not listed.isdisjoint(subjects)


def may_do_everything(user: User | AnonymousUser) -> bool:
    """Superusers of the staff, and who is listed in ADMIN_USER_IDS."""
    return isinstance(user, User) and user.is_active and ((user.is_superuser and user.is_staff) or is_listed(user))


def is_admin(user: User | AnonymousUser) -> bool:
    """May the user call the admin API at all?"""
    return isinstance(user, User) and user.is_active and (user.is_staff or is_listed(user))


class IsStaffOrAdmin(BasePermission):
    """For every view of the admin API. An anonymous caller gets 401, anybody else 403 `admin_required`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return False
        if not is_admin(request.user):
            raise AdminRequired
        return True


class IsNoMachine(BasePermission):
    """What an API key must not do.

    Make a key or a webhook that outlives its own revocation, lift the limit that caps it, or silence its owner's alarm.
    """

    message = "This is done with a login, not with an API key."

    def has_permission(self, request: Request, view: Any) -> bool:
        return not isinstance(request.auth, ApiKey)


class IsNoMachineToWrite(IsNoMachine):
    """Reading is for keys, too."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.method in SAFE_METHODS or super().has_permission(request, view)


def require_permission(request: Request, permission: str) -> None:
    """Insist on a Django permission such as `"pricing.change_modelpricing"`.

    Raises: NotAuthenticated, AdminRequired for who is no staff at all, PermissionMissing for staff without the right.
    """
    user = caller(request)
    if may_do_everything(user):
        return
    if not (user.is_active and user.is_staff):
        raise AdminRequired
    if not user.has_perm(permission):
        raise PermissionMissing

"""`/users/me/spending-limits`, and the same for staff."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from billing.limits import services
from billing.limits.serializers import LimitChangeIn, LimitIn, LimitOut, LimitsOut, StaffLimitIn
from billing.models import SpendingLimit
from config.core.callers import caller_id
from config.core.errors import NotFound
from config.core.openapi import problems
from users.permissions import IsNoMachineToWrite, IsStaffOrAdmin, require_permission

_REFUSED = ("401 not_authenticated", "403 permission_denied", "409 wallet_busy")
_STAFF = ("403 admin_required", "403 permission_denied", "404 not_found")


def _shown(user_id: UUID, limit_id: UUID) -> dict[str, Any]:
    status = next((one for one in services.status_of(user_id) if one.row.id == limit_id), None)
    if status is None:
        raise NotFound
    return dict(LimitOut(status).data)


def _all(user_id: UUID) -> Response:
    return Response(LimitsOut({"results": services.status_of(user_id)}).data)


def _made(request: Request, user_id: UUID, serializer: type[Serializer[Any]], *, is_staff_set: bool) -> Response:
    body = serializer(data=request.data)
    body.is_valid(raise_exception=True)
    fields = {"subject_id": user_id, **body.validated_data}
    row = services.create(user_id=user_id, set_by=str(caller_id(request)), is_staff_set=is_staff_set, **fields)
    return Response(_shown(user_id, row.id), status=201)


def _changed(request: Request, limit: SpendingLimit) -> Response:
    body = LimitChangeIn(data=request.data)
    body.is_valid(raise_exception=True)
    services.change(limit, amount=body.validated_data["amount"], set_by=str(caller_id(request)))
    return Response(_shown(limit.user_id, limit.id))


def _limit(**where: Any) -> SpendingLimit:
    limit = SpendingLimit.objects.filter(**where).first()
    if limit is None:
        raise NotFound
    return limit


class MyLimitsView(APIView):
    permission_classes = [IsAuthenticated, IsNoMachineToWrite]

    @extend_schema(operation_id="spending_limits", responses={200: LimitsOut, **problems("401 not_authenticated")})
    def get(self, request: Request) -> Response:
        """Your limits and those that staff set for you, with what counts towards them now."""
        return _all(caller_id(request))

    @extend_schema(
        operation_id="make_spending_limit",
        request=LimitIn,
        responses={201: LimitOut, **problems(*_REFUSED, "404 not_found", "422 validation_error")},
    )
    def post(self, request: Request) -> Response:
        """Cap what a room, an agent or an API key of yours is charged per day or month. Not with an API key."""
        return _made(request, caller_id(request), LimitIn, is_staff_set=False)


class MyLimitView(APIView):
    permission_classes = [IsAuthenticated, IsNoMachineToWrite]

    @extend_schema(
        operation_id="change_spending_limit",
        request=LimitChangeIn,
        responses={200: LimitOut, **problems(*_REFUSED, "404 not_found", "422 validation_error")},
    )
    def patch(self, request: Request, limit_id: UUID) -> Response:
        """Set another amount."""
        return _changed(request, _limit(id=limit_id, user_id=caller_id(request), is_staff_set=False))

    @extend_schema(operation_id="delete_spending_limit", responses={204: None, **problems(*_REFUSED, "404 not_found")})
    def delete(self, request: Request, limit_id: UUID) -> Response:
        """Take a limit of yours away; those that staff set stay."""
        limit = _limit(id=limit_id, user_id=caller_id(request), is_staff_set=False)
        services.delete(limit, deleted_by=str(caller_id(request)))
        return Response(status=204)


class UserLimitsView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(operation_id="admin_spending_limits", responses={200: LimitsOut, **problems(*_STAFF)})
    def get(self, request: Request, user_id: UUID) -> Response:
        """All limits of a user, their own too."""
        require_permission(request, "billing.view_spendinglimit")
        _ensure_user(user_id)
        return _all(user_id)

    @extend_schema(
        operation_id="admin_make_spending_limit",
        request=StaffLimitIn,
        responses={201: LimitOut, **problems(*_STAFF, "409 wallet_busy", "422 validation_error")},
    )
    def post(self, request: Request, user_id: UUID) -> Response:
        """Cap a user, or a room, an agent or a key of theirs. They see it and cannot change it."""
        require_permission(request, "billing.add_spendinglimit")
        _ensure_user(user_id)
        return _made(request, user_id, StaffLimitIn, is_staff_set=True)


class UserLimitView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="admin_change_spending_limit",
        request=LimitChangeIn,
        responses={200: LimitOut, **problems(*_STAFF, "409 wallet_busy", "422 validation_error")},
    )
    def patch(self, request: Request, user_id: UUID, limit_id: UUID) -> Response:
        """Set another amount of a limit that staff set."""
        require_permission(request, "billing.change_spendinglimit")
        return _changed(request, _limit(id=limit_id, user_id=user_id, is_staff_set=True))

    @extend_schema(
        operation_id="admin_delete_spending_limit", responses={204: None, **problems(*_STAFF, "409 wallet_busy")}
    )
    def delete(self, request: Request, user_id: UUID, limit_id: UUID) -> Response:
        """Take away a limit that staff set."""
        require_permission(request, "billing.delete_spendinglimit")
        limit = _limit(id=limit_id, user_id=user_id, is_staff_set=True)
        services.delete(limit, deleted_by=str(caller_id(request)))
        return Response(status=204)


def _ensure_user(user_id: UUID) -> None:
    if not get_user_model().objects.filter(pk=user_id).exists():
        raise NotFound

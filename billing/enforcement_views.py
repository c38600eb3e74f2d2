"""Enforcement over HTTP: for the deployment, for one user, and what switching it on would do."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import enforcement, shadow_report
from billing.models import ShadowRefusal
from billing.serializers import (
    EnforcementIn,
    EnforcementOut,
    RangeIn,
    ShadowFilterIn,
    ShadowOut,
    ShadowRefusalOut,
)  # fmt: skip
from config.core.callers import caller_id
from config.core.errors import NotFound
from config.core.openapi import problems
from users.permissions import IsStaffOrAdmin, require_permission


class EnforcementView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(operation_id="enforcement", responses={200: EnforcementOut, **problems("403 admin_required")})
    def get(self, request: Request) -> Response:
        """Which enforcement is in force, and where it comes from."""
        require_permission(request, "billing.view_enforcementoverride")
        return Response(EnforcementOut(enforcement.describe()).data)

    @extend_schema(
        operation_id="set_enforcement",
        request=EnforcementIn,
        responses={200: EnforcementOut, **problems("403 admin_required", "422 validation_error")},
    )
    def patch(self, request: Request) -> Response:
        """Override the environment's setting, at once and for every process."""
        require_permission(request, "billing.change_enforcementoverride")
        body = EnforcementIn(data=request.data)
        body.is_valid(raise_exception=True)
        enforcement.set_override(enforcement=body.validated_data["enforcement"], updated_by=str(caller_id(request)))
        return Response(EnforcementOut(enforcement.describe()).data)

    @extend_schema(operation_id="clear_enforcement", responses={200: EnforcementOut, **problems("403 admin_required")})
    def delete(self, request: Request) -> Response:
        """Back to the environment's setting."""
        require_permission(request, "billing.change_enforcementoverride")
        enforcement.clear_override(cleared_by=str(caller_id(request)))
        return Response(EnforcementOut(enforcement.describe()).data)


class UserEnforcementView(APIView):
    """For one user; it goes before the deployment's."""

    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="user_enforcement",
        responses={200: EnforcementOut, **problems("403 admin_required", "404 not_found")},
    )
    def get(self, request: Request, user_id: UUID) -> Response:
        """Which enforcement is in force for this user, and where it comes from."""
        require_permission(request, "billing.view_userenforcement")
        return _of_user(user_id)

    @extend_schema(
        operation_id="set_user_enforcement",
        request=EnforcementIn,
        responses={200: EnforcementOut, **problems("403 admin_required", "404 not_found", "422 validation_error")},
    )
    def patch(self, request: Request, user_id: UUID) -> Response:
        """Set it for this user, from their next turn on."""
        require_permission(request, "billing.change_userenforcement")
        body = EnforcementIn(data=request.data)
        body.is_valid(raise_exception=True)
        _ensure_user(user_id)
        enforcement.set_for_user(user_id=user_id, updated_by=str(caller_id(request)), **body.validated_data)
        return _of_user(user_id)

    @extend_schema(
        operation_id="clear_user_enforcement",
        responses={200: EnforcementOut, **problems("403 admin_required", "404 not_found")},
    )
    def delete(self, request: Request, user_id: UUID) -> Response:
        """Back to the deployment's."""
        require_permission(request, "billing.change_userenforcement")
        _ensure_user(user_id)
        enforcement.clear_for_user(user_id=user_id, cleared_by=str(caller_id(request)))
        return _of_user(user_id)


def _ensure_user(user_id: UUID) -> None:
    if not get_user_model().objects.filter(pk=user_id).exists():
        raise NotFound


def _of_user(user_id: UUID) -> Response:
    _ensure_user(user_id)
    return Response(EnforcementOut(enforcement.describe(user_id=user_id)).data)


class ShadowView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="enforcement_shadow",
        parameters=[OpenApiParameter("from", str), OpenApiParameter("to", str), OpenApiParameter("tz", str)],
        responses={200: ShadowOut, **problems("403 admin_required", "422 validation_error")},
    )
    def get(self, request: Request) -> Response:
        """What ran under `warn` and `hard` would have refused, and whom that would meet. Default: the last 30 days."""
        require_permission(request, "billing.view_shadowrefusal")
        query = RangeIn(data=request.query_params, context={"tz": request.query_params.get("tz")})
        query.is_valid(raise_exception=True)
        report = shadow_report.shadow_report(start=query.validated_data["from"], end=query.validated_data["to"])
        return Response(ShadowOut(report).data)


class ShadowRefusalsView(ListAPIView[ShadowRefusal]):
    permission_classes = [IsStaffOrAdmin]
    serializer_class = ShadowRefusalOut

    @extend_schema(
        operation_id="enforcement_shadow_refusals",
        parameters=[
            OpenApiParameter("from", str),
            OpenApiParameter("to", str),
            OpenApiParameter("tz", str),
            OpenApiParameter("user_id", OpenApiTypes.UUID, description="of this user alone"),
        ],
        responses={200: ShadowRefusalOut(many=True), **problems("403 admin_required", "422 validation_error")},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Each turn and direct completion that the report counts, newest first. Default: the last 30 days."""
        require_permission(request, "billing.view_shadowrefusal")
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[ShadowRefusal]:
        query = ShadowFilterIn(data=self.request.query_params, context={"tz": self.request.query_params.get("tz")})
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        found = ShadowRefusal.objects.filter(created_at__gte=asked["from"], created_at__lt=asked["to"])
        return found.filter(user_id=asked["user_id"]) if "user_id" in asked else found

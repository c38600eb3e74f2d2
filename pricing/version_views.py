"""Price versions over HTTP: made, changed, scheduled, activated, rolled back and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.fields import ClosedSerializer
from config.core.openapi import problems
from pricing import drafting, lifecycle, services
from pricing.comparing import compare
from pricing.history import book_at
from pricing.models import PricingVersion
from pricing.version_serializers import (
    ActivateIn,
    ComparisonOut,
    DraftIn,
    NewDraftIn,
    RevisionIn,
    RollBackIn,
    ScheduleIn,
    VersionOut,
    VersionWithModelsOut,
)
from users.permissions import IsStaffOrAdmin, require_permission

_STAFF = ("401 not_authenticated", "403 admin_required", "403 permission_denied")
_CHANGE = (*_STAFF, "404 not_found", "409 stale_revision", "409 version_not_editable", "422 validation_error")


class VersionsView(ListAPIView[PricingVersion]):
    permission_classes = [IsStaffOrAdmin]
    serializer_class = VersionOut

    @extend_schema(
        operation_id="price_versions",
        responses={200: VersionOut(many=True), **problems(*_STAFF, "422 validation_error")},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """All price versions, newest first."""
        require_permission(request, "pricing.view_pricingversion")
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[PricingVersion]:
        return PricingVersion.objects.all()

    @extend_schema(
        operation_id="make_price_version",
        request=NewDraftIn,
        responses={201: VersionOut, **problems(*_STAFF, "404 not_found", "422 validation_error")},
    )
    def post(self, request: Request) -> Response:
        """Make a draft: a copy of another version (default: the active one), but for what the body names."""
        require_permission(request, "pricing.add_pricingversion")
        body = NewDraftIn(data=request.data)
        body.is_valid(raise_exception=True)
        draft = drafting.make_draft(
            version=body.validated_data["version"],
            clone_from=body.validated_data.get("clone_from"),
            fields=body.fields_of_draft(),
            actor=str(request.user.pk),
        )
        return Response(VersionOut(draft).data, status=201)


class VersionView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="price_version", responses={200: VersionWithModelsOut, **problems(*_STAFF, "404 not_found")}
    )
    def get(self, request: Request, version: str) -> Response:
        """One version with its prices."""
        require_permission(request, "pricing.view_pricingversion")
        found = services.find_version(version)
        # From the record, not from the rows: an edit between two queries would mix two revisions.
        book = book_at(found.version, found.revision)
        return Response(VersionWithModelsOut(found, context={"models": list(book.models.values())}).data)

    @extend_schema(operation_id="change_draft", request=DraftIn, responses={200: VersionOut, **problems(*_CHANGE)})
    def patch(self, request: Request, version: str) -> Response:
        """Change weights, divisor, note or planned time of a draft, as a recorded revision."""
        require_permission(request, "pricing.change_pricingversion")
        body = DraftIn(data=request.data)
        body.is_valid(raise_exception=True)
        draft = drafting.change_draft(
            pricing_version=version,
            fields=body.fields_of_draft(),
            expected_revision=body.validated_data.get("expected_revision"),
            actor=str(request.user.pk),
        )
        return Response(VersionOut(draft).data)


class ScheduleView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="schedule_version", request=ScheduleIn, responses={200: VersionOut, **problems(*_CHANGE)}
    )
    def post(self, request: Request, version: str) -> Response:
        """Promise a draft for a time in the future, or move a scheduled version. It cannot be edited from here on."""
        return _step(request, version, ScheduleIn, lifecycle.schedule)


class UnscheduleView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="unschedule_version", request=RevisionIn, responses={200: VersionOut, **problems(*_CHANGE)}
    )
    def post(self, request: Request, version: str) -> Response:
        """Take a scheduled version back to draft."""
        return _step(request, version, RevisionIn, lifecycle.unschedule)


class ActivateView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="activate_version", request=ActivateIn, responses={200: VersionOut, **problems(*_CHANGE)}
    )
    def post(self, request: Request, version: str) -> Response:
        """Bring a draft or a scheduled version into force now, and retire the active one. Turns keep theirs."""
        return _step(request, version, ActivateIn, lifecycle.activate)


class RollBackView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(operation_id="roll_back", request=RollBackIn, responses={201: VersionOut, **problems(*_CHANGE)})
    def post(self, request: Request, version: str) -> Response:
        """Make a new version with the prices of this one, which was in force once, and bring it into force.

        Nothing past is repriced.
        """
        return _step(request, version, RollBackIn, lifecycle.roll_back, status=201)


def _step(
    request: Request,
    version: str,
    body_class: type[ClosedSerializer],
    take: Callable[..., PricingVersion],
    *,
    status: int = 200,
) -> Response:
    """One step of a version's life. What the body says becomes the step's arguments, which its fields name."""
    require_permission(request, "pricing.change_pricingversion")
    body = body_class(data=request.data)
    body.is_valid(raise_exception=True)
    done = take(pricing_version=version, actor=str(request.user.pk), **body.validated_data)
    return Response(VersionOut(done).data, status=status)


class DiffView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="version_diff",
        parameters=[OpenApiParameter("against", str, description="default: the active version")],
        responses={200: ComparisonOut, **problems(*_STAFF, "404 not_found")},
    )
    def get(self, request: Request, version: str) -> Response:
        """What changes from another version to this one, and three sample turns priced under both."""
        require_permission(request, "pricing.view_pricingversion")
        against = request.query_params.get("against")
        comparison = compare(services.find_version(version), services.find_version(against))
        return Response(ComparisonOut(comparison).data)

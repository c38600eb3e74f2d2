from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.openapi import problems
from pricing import cache, services
from pricing.catalog import callable_models
from pricing.history import book_at
from pricing.serializers import (
    EditedModelOut,
    EditedToolOut,
    ModelPricingIn,
    ModelsOut,
    MultiplierIn,
    PricingOut,
    RevisionQuery,
    ToolPricingIn,
)
from users.permissions import IsStaffOrAdmin, require_permission

_STAFF = ("401 not_authenticated", "403 admin_required", "403 permission_denied")
_EDIT = (*_STAFF, "404 not_found", "409 stale_revision", "409 version_not_editable", "422 validation_error")


class ModelsView(APIView):
    @extend_schema(operation_id="models", responses={200: ModelsOut, **problems("401 not_authenticated")})
    def get(self, request: Request) -> Response:
        """The model aliases that you can call, and what they cost. One page, always."""
        book = cache.latest()
        listing = {
            "pricing_version": book.pricing_version,
            "revision": book.revision,
            "tools": book.tools,
            "results": callable_models(book),
            "next": None,
            "previous": None,
        }
        return Response(ModelsOut(listing).data)


class AdminPricingView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="admin_pricing",
        parameters=[OpenApiParameter("pricing_version", str, description="default: the active version")],
        responses={200: PricingOut, **problems(*_STAFF, "404 not_found")},
    )
    def get(self, request: Request) -> Response:
        """All prices of one version, with what the providers take."""
        require_permission(request, "pricing.view_modelpricing")
        version = services.find_version(request.query_params.get("pricing_version"))
        # From the record, not from the rows: an edit between two queries would pair one revision with another's prices.
        book = book_at(version.version, version.revision)
        listing = {
            "pricing_version": book.pricing_version,
            "revision": book.revision,
            "status": version.status,
            "weights": book.weights,
            "models": list(book.models.values()),
            "tools": book.tools,
        }
        return Response(PricingOut(listing).data)


class AdminModelPricingView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="set_multiplier",
        request=MultiplierIn,
        responses={200: EditedModelOut, **problems(*_EDIT, "404 unknown_model_alias")},
    )
    def patch(self, request: Request, model_alias: str) -> Response:
        """Change an alias's multiplier, as a recorded revision. Every turn that opens from now on pays the new one."""
        require_permission(request, "pricing.change_modelpricing")
        body = MultiplierIn(data=request.data)
        body.is_valid(raise_exception=True)
        row = services.set_multiplier(
            model_alias=model_alias,
            multiplier=body.validated_data["multiplier"],
            actor=str(request.user.pk),
            pricing_version=body.validated_data.get("pricing_version"),
            expected_revision=body.validated_data.get("revision"),
        )
        return Response(EditedModelOut(row).data)


class AdminVersionModelView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="put_model",
        request=ModelPricingIn,
        responses={200: EditedModelOut, 201: EditedModelOut, **problems(*_EDIT)},
    )
    def put(self, request: Request, version: str, model_alias: str) -> Response:
        """Make an alias in a draft or in the active version (201), or change what the body names of it (200)."""
        require_permission(request, "pricing.change_modelpricing")
        body = ModelPricingIn(data=request.data)
        body.is_valid(raise_exception=True)
        fields = dict(body.validated_data)
        expected_revision = fields.pop("revision", None)
        row, is_new = services.put_model(
            pricing_version=version,
            model_alias=model_alias,
            fields=fields,
            actor=str(request.user.pk),
            expected_revision=expected_revision,
        )
        return Response(EditedModelOut(row).data, status=201 if is_new else 200)

    @extend_schema(
        operation_id="remove_model",
        parameters=[OpenApiParameter("revision", int, description="Refuse if the version has another by now.")],
        responses={204: None, **problems(*_EDIT, "404 unknown_model_alias")},
    )
    def delete(self, request: Request, version: str, model_alias: str) -> Response:
        """Take an alias out of a draft."""
        require_permission(request, "pricing.delete_modelpricing")
        query = RevisionQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        services.remove_model(
            pricing_version=version,
            model_alias=model_alias,
            actor=str(request.user.pk),
            expected_revision=query.validated_data.get("revision"),
        )
        return Response(status=204)


class AdminVersionToolView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="put_tool",
        request=ToolPricingIn,
        responses={200: EditedToolOut, 201: EditedToolOut, **problems(*_EDIT)},
    )
    def put(self, request: Request, version: str, tool_name: str) -> Response:
        """Say what a successful call of a tool costs, in a draft or in the active version (201: it was free)."""
        require_permission(request, "pricing.change_toolpricing")
        body = ToolPricingIn(data=request.data)
        body.is_valid(raise_exception=True)
        row, is_new = services.put_tool(
            pricing_version=version,
            tool_name=tool_name,
            credits_per_call=body.validated_data["credits_per_call"],
            actor=str(request.user.pk),
            expected_revision=body.validated_data.get("revision"),
        )
        return Response(EditedToolOut(row).data, status=201 if is_new else 200)

    @extend_schema(
        operation_id="remove_tool",
        parameters=[OpenApiParameter("revision", int, description="Refuse if the version has another by now.")],
        responses={204: None, **problems(*_EDIT)},
    )
    def delete(self, request: Request, version: str, tool_name: str) -> Response:
        """Take a tool's price away: it is free from now on, as a recorded revision."""
        require_permission(request, "pricing.change_toolpricing")
        query = RevisionQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        services.remove_tool(
            pricing_version=version,
            tool_name=tool_name,
            actor=str(request.user.pk),
            expected_revision=query.validated_data.get("revision"),
        )
        return Response(status=204)

"""The ledger's check and its anchors, for staff."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.forms.models import model_to_dict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.checking import check_everything, check_some
from billing.invariants import Finding
from billing.models import CreditWallet, LedgerAnchor
from config.core.errors import NotFound
from config.core.openapi import problems
from users.permissions import IsStaffOrAdmin, require_permission

FINDINGS_SHOWN = 100


class CheckIn(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(choices=["full", "new"], default="full")
    user_id = serializers.UUIDField(required=False)


class FindingOut(serializers.Serializer[Any]):
    invariant = serializers.CharField()
    wallet_id = serializers.UUIDField(allow_null=True)
    user_id = serializers.UUIDField(allow_null=True)
    detail = serializers.CharField()


class CheckOut(serializers.Serializer[Any]):
    """`findings`: the first hundred."""

    ok = serializers.BooleanField()
    checked = serializers.ChoiceField(choices=["full", "new"])
    user_id = serializers.UUIDField(allow_null=True, help_text="null: every wallet")
    wallets_checked = serializers.IntegerField()
    entries_checked = serializers.IntegerField()
    violations = serializers.IntegerField()
    findings = FindingOut(many=True)
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField()


class AnchorOut(serializers.ModelSerializer[LedgerAnchor]):
    class Meta:
        model = LedgerAnchor
        fields = ["id", "as_of", "anchor_hash", "wallets", "entries", "created_at"]


class CheckView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="ledger_check",
        parameters=[
            OpenApiParameter(
                "scope", str, enum=["full", "new"], description="new: since each wallet's last good check"
            ),
            OpenApiParameter("user_id", OpenApiTypes.UUID, description="this user's wallet alone"),
        ],
        responses={200: CheckOut, **problems("403 admin_required", "404 not_found", "422 validation_error")},
    )
    def get(self, request: Request) -> Response:
        """Check the ledger now. It blocks no writer, and takes about a minute for a million entries."""
        require_permission(request, "billing.view_ledgercheck")
        query = CheckIn(data=request.query_params)
        query.is_valid(raise_exception=True)
        user_id, only_new = query.validated_data.get("user_id"), query.validated_data["scope"] == "new"
        if user_id is not None and not CreditWallet.objects.filter(user_id=user_id).exists():
            raise NotFound
        findings: list[Finding] = []

        def report(finding: Finding) -> None:
            if len(findings) < FINDINGS_SHOWN:
                findings.append(finding)

        if user_id is None and not only_new:
            check = check_everything(report=report)
        else:
            check = check_some(user_id=user_id, only_new=only_new, report=report)
        answer = {**model_to_dict(check), **query.validated_data, "checked": query.validated_data["scope"]}
        return Response(CheckOut({"user_id": None, **answer, "findings": findings}).data)


class AnchorsView(ListAPIView[LedgerAnchor]):
    permission_classes = [IsStaffOrAdmin]
    serializer_class = AnchorOut
    keyset_ordering = "-as_of"

    @extend_schema(
        operation_id="ledger_anchors", responses={200: AnchorOut(many=True), **problems("403 admin_required")}
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One hash a day over the ledger, newest first, to be kept elsewhere and checked against later."""
        require_permission(request, "billing.view_ledgeranchor")
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[LedgerAnchor]:
        return LedgerAnchor.objects.all()

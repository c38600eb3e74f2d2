from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import ledger, reports
from billing.csv_export import CSVRenderer, stream_csv, wants_csv
from billing.models import CreditTransaction
from billing.reports.usage import UsageQuery, usage_report
from billing.serializers import (
    SupportWalletOut,
    TransactionFilterIn,
    TransactionOut,
    UsageIn,
    UsageOut,
    WalletOut,
)
from billing.services import usage_csv, wallet_of_user
from config.core.callers import caller_id
from config.core.openapi import problems
from users.permissions import IsStaffOrAdmin, require_permission

_RANGE = [
    OpenApiParameter("from", str, description="RFC 3339 time or date, included; default: 30 days before `to`"),
    OpenApiParameter("to", str, description="RFC 3339 time or date, excluded; default: now"),
]


class MyWalletView(APIView):
    @extend_schema(operation_id="wallet", responses={200: WalletOut, **problems("401 not_authenticated")})
    def get(self, request: Request) -> Response:
        """Balance, what running turns hold of it, what is free, and the grants that are left."""
        ledger.ensure_wallet(user_id=caller_id(request))
        return Response(WalletOut(wallet_of_user(caller_id(request))).data)


class MyTransactionsView(ListAPIView[CreditTransaction]):
    serializer_class = TransactionOut
    renderer_classes = [JSONRenderer, CSVRenderer]
    keyset_ordering = "-seq"

    @extend_schema(
        operation_id="transactions",
        parameters=[OpenApiParameter("kind", str, enum=CreditTransaction.Kind.values), *_RANGE],
        responses={200: TransactionOut(many=True), **problems("401 not_authenticated", "422 validation_error")},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """The ledger entries of your wallet, newest first. With `Accept: text/csv` all of them, streamed."""
        if wants_csv(request):
            return self._csv()
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[CreditTransaction]:
        query = TransactionFilterIn(data=self.request.query_params)
        query.is_valid(raise_exception=True)
        names = {"kind": "kind", "from": "created_at__gte", "to": "created_at__lt"}
        filters = {names[name]: value for name, value in query.validated_data.items()}
        return CreditTransaction.objects.filter(user_id=caller_id(self.request), **filters)

    def _csv(self) -> HttpResponseBase:
        entries = self.get_queryset().order_by("-seq")
        columns = TransactionOut.Meta.fields

        def page(after: int | None) -> tuple[list[Any], int | None]:
            rows = list((entries if after is None else entries.filter(seq__lt=after))[:1000])
            data = TransactionOut(rows, many=True).data
            return [[row[name] for name in columns] for row in data], rows[-1].seq if len(rows) == 1000 else None

        return stream_csv(filename="transactions.csv", header=columns, page=page)


class MyUsageView(APIView):
    renderer_classes = [JSONRenderer, CSVRenderer]

    @extend_schema(
        operation_id="usage",
        parameters=[
            *_RANGE,
            OpenApiParameter("tz", str, description="IANA time zone of buckets and dates; default UTC"),
            OpenApiParameter("bucket", str, enum=["hour", "day", "week", "month"]),
            OpenApiParameter("group_by", str, description="comma list of model_alias, agent, room, session, purpose"),
        ],
        responses={200: UsageOut, **problems("401 not_authenticated", "422 validation_error")},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Tokens and credits over time and by group. `credits_charged` is what the ledger took: add that up."""
        parameters = {**request.query_params.dict()}
        if "group_by" in parameters:
            parameters["group_by"] = ",".join(request.query_params.getlist("group_by"))
        query = UsageIn(data=parameters, context={"tz": parameters.get("tz")})
        query.is_valid(raise_exception=True)
        data = query.validated_data
        report = usage_report(
            UsageQuery(
                start=data["from"],
                end=data["to"],
                tz=data["tz"],
                bucket=data["bucket"],
                group_by=data["group_by"],
                user_id=caller_id(request),
            )  # fmt: skip
        )
        if wants_csv(request):
            return usage_csv(report, data["group_by"])
        return Response(UsageOut(report).data)


class SupportWalletView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="admin_wallet",
        responses={200: SupportWalletOut, **problems("403 admin_required", "404 not_found")},
    )
    def get(self, request: Request, user_id: UUID) -> Response:
        """A user's wallet with its open holds."""
        require_permission(request, "billing.view_creditwallet")
        summary = reports.summary_for_support(user_id=user_id)
        return Response(SupportWalletOut({**summary, **wallet_of_user(user_id, must_exist=True)}).data)

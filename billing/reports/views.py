"""Reports for staff over HTTP. The admin's page shows the same numbers, of the same functions."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.csv_export import CSVRenderer, wants_csv
from billing.reports.active_users import active_users
from billing.reports.csv_answers import CSV_GROUPS_MAX, active_users_csv, summary_csv
from billing.reports.serializers import ActiveUsersIn, ActiveUsersOut, UsageSummaryIn, UsageSummaryOut
from billing.reports.usage import GROUPS, UsageQuery, usage_report
from config.core.openapi import problems
from users.permissions import IsStaffOrAdmin, require_permission

# Sums of events show what events show.
PERMISSION = "billing.view_llmcallevent"
OF_WHOM = [
    OpenApiParameter("user_id", OpenApiTypes.UUID, description="of this user alone"),
    OpenApiParameter("model_alias", str, description="of this alias alone"),
]
BUCKETS_AND_RANGE = [
    OpenApiParameter("from", str, description="RFC 3339 time or date, included; default: 30 days before `to`"),
    OpenApiParameter("to", str, description="RFC 3339 time or date, excluded; default: now"),
    OpenApiParameter("tz", str, description="IANA time zone of buckets and dates; default UTC"),
    OpenApiParameter("bucket", str, enum=["hour", "day", "week", "month"]),
]


class UsageSummaryView(APIView):
    permission_classes = [IsStaffOrAdmin]
    renderer_classes = [JSONRenderer, CSVRenderer]

    @extend_schema(
        operation_id="admin_usage_summary",
        parameters=[
            *OF_WHOM,
            *BUCKETS_AND_RANGE,
            OpenApiParameter("group_by", str, description=f"comma list of {', '.join(GROUPS)}"),
            OpenApiParameter("limit", int, description="groups charged most that are listed; 1 to 10000, default 1000"),
        ],
        responses={200: UsageSummaryOut, **problems("403 admin_required", "422 validation_error")},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """What was used, charged and paid to providers. With `Accept: text/csv` the breakdown, with a row of totals."""
        require_permission(request, PERMISSION)
        parameters = request.query_params.dict()
        if "group_by" in parameters:
            parameters["group_by"] = ",".join(request.query_params.getlist("group_by"))
        asked = UsageSummaryIn(data=parameters, context={"tz": parameters.get("tz")})
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        query = _query(data, group_by=data["group_by"])
        if wants_csv(request):
            return summary_csv(usage_report(query, limit=CSV_GROUPS_MAX), data["group_by"])
        report = usage_report(query, limit=data["limit"])
        return Response(UsageSummaryOut(report, context={"group_by": data["group_by"]}).data)


class ActiveUsersView(APIView):
    permission_classes = [IsStaffOrAdmin]
    renderer_classes = [JSONRenderer, CSVRenderer]

    @extend_schema(
        operation_id="admin_active_users",
        parameters=[*OF_WHOM, *BUCKETS_AND_RANGE],
        responses={200: ActiveUsersOut, **problems("403 admin_required", "422 validation_error")},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """How many users made a call, in all and in each bucket; buckets without any are left out."""
        require_permission(request, PERMISSION)
        parameters = request.query_params.dict()
        asked = ActiveUsersIn(data=parameters, context={"tz": parameters.get("tz")})
        asked.is_valid(raise_exception=True)
        report = active_users(_query(asked.validated_data))
        return active_users_csv(report) if wants_csv(request) else Response(ActiveUsersOut(report).data)


def _query(data: dict[str, Any], **more: Any) -> UsageQuery:
    return UsageQuery(
        start=data["from"], end=data["to"], tz=data["tz"], bucket=data["bucket"], user_id=data.get("user_id"),
        model_alias=data.get("model_alias"), **more,
    )  # fmt: skip

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.simulating.serializers import SimulationOut, SimulationQuery
from billing.simulating.services import DEFAULT_DAYS, MOST_DAYS, last_days, simulate
from config.core.openapi import problems
from pricing.history import book_at
from pricing.services import find_version
from users.permissions import IsStaffOrAdmin, require_permission


class SimulateView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="simulate_version",
        parameters=[OpenApiParameter("days", int, description=f"1 to {MOST_DAYS}; default: {DEFAULT_DAYS}")],
        responses={
            200: SimulationOut,
            **problems(
                "401 not_authenticated", "403 admin_required", "403 permission_denied", "404 not_found",
                "422 validation_error",
            ),
        },
    )  # fmt: skip
    def get(self, request: Request, version: str) -> Response:
        """What this version would have charged for the calls of the last days, beside what was charged."""
        require_permission(request, "pricing.view_pricingversion")
        require_permission(request, "billing.view_llmcallevent")
        query = SimulationQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        found, days = find_version(version), query.validated_data["days"]
        start, end = last_days(days)
        simulation = simulate(book_at(found.version, found.revision), days=days, start=start, end=end)
        return Response(SimulationOut(simulation).data)

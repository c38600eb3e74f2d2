from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.models import PriceSimulation
from billing.simulating import runs
from billing.simulating.history import has_more_calls_than
from billing.simulating.serializers import RunOut, SimulationIn, SimulationOut, SimulationQuery
from billing.simulating.services import DEFAULT_DAYS, MOST_DAYS, last_days, simulate
from config.core.errors import NotFound, ValidationFailed
from config.core.openapi import problems
from pricing.history import book_at
from pricing.services import find_version
from users.permissions import IsStaffOrAdmin, require_permission

# A quarter of a minute of a processor's time, in the process that answers others, too.
MOST_CALLS_AT_ONCE = 1_000_000
_PROBLEMS = ("401 not_authenticated", "403 admin_required", "403 permission_denied", "404 not_found")


class SimulateView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="simulate_version",
        parameters=[OpenApiParameter("days", int, description=f"1 to {MOST_DAYS}; default: {DEFAULT_DAYS}")],
        responses={
            200: SimulationOut,
            **problems(*_PROBLEMS, "422 validation_error"),
        },
    )
    def get(self, request: Request, version: str) -> Response:
        """What this version would have charged for the calls of the last days, beside what was charged."""
        _ensure_may_see(request)
        query = SimulationQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        found, days = find_version(version), query.validated_data["days"]
        start, end = last_days(days)
        if has_more_calls_than(MOST_CALLS_AT_ONCE, start=start, end=end):
            raise ValidationFailed(
                f"More than {MOST_CALLS_AT_ONCE:,} calls: ask for fewer days, or POST to …/simulations and come back.",
                field="days",
                error_code="too_many_calls",
            )
        simulation = simulate(book_at(found.version, found.revision), days=days, start=start, end=end)
        return Response(SimulationOut(simulation).data)


class RunsView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="ask_for_simulation",
        request=SimulationIn,
        responses={201: RunOut, 202: RunOut, **problems(*_PROBLEMS, "422 validation_error")},
    )
    def post(self, request: Request, version: str) -> Response:
        """Have a simulation done: of a short history at once (201), else by a worker (202). `Location` tells how far it
        is. While one of the same revision and days waits or runs, that one is answered.
        """
        _ensure_may_see(request)
        body = SimulationIn(data=request.data)
        body.is_valid(raise_exception=True)
        row = runs.ask(find_version(version), days=body.validated_data["days"], asked_by=str(request.user.pk))
        status = 201 if row.status == PriceSimulation.Status.DONE else 202
        return Response(RunOut(row).data, status=status, headers={"Location": f"{request.path}/{row.pk}"})


class RunView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(operation_id="simulation", responses={200: RunOut, **problems(*_PROBLEMS)})
    def get(self, request: Request, version: str, simulation_id: UUID) -> Response:
        """How far a simulation is, and what it came to. Only the newest hundred are kept."""
        _ensure_may_see(request)
        row = PriceSimulation.objects.filter(pk=simulation_id, pricing_version=find_version(version).version).first()
        if row is None:
            raise NotFound("There is no such simulation.")
        return Response(RunOut(row).data)


def _ensure_may_see(request: Request) -> None:
    require_permission(request, "pricing.view_pricingversion")
    require_permission(request, "billing.view_llmcallevent")

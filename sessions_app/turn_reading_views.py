"""A turn as it stands: itself, its bill, what it read, and what one would cost."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.async_views import AsyncAPIView
from config.core.callers import caller_id
from config.core.errors import NotFound
from config.core.openapi import problems
from sessions_app.models import Turn, TurnContextAudit
from sessions_app.serializers import BillOut, ContextAuditOut, EstimateOut, TurnIn, TurnOut, shown_turn
from sessions_app.turn_views import ADMISSION, turn_request
from sessions_app.turns.estimating import estimate
from sessions_app.turns.partial import partial_messages
from sessions_app.turns.reading import bill, describe, turn_of


class TurnView(AsyncAPIView):
    @extend_schema(operation_id="turn", responses={200: TurnOut, **problems("401 not_authenticated", "404 not_found")})
    async def get(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """A turn: status, answers, usage and cost. While it runs, with what it has said so far."""

        def unit() -> tuple[Turn, dict[str, Any]]:
            turn = turn_of(user_id=caller_id(request), turn_id=turn_id)
            return turn, describe([turn])[0]

        turn, shown = await self.admitted(request, unit)
        if turn.finished_at is None:
            shown["messages"] += await partial_messages(turn)
        return Response(shown_turn(shown))


class TurnBillView(APIView):
    @extend_schema(
        operation_id="turn_bill", responses={200: BillOut, **problems("401 not_authenticated", "404 not_found")}
    )
    def get(self, request: Request, turn_id: UUID) -> Response:
        """The itemised bill: one line per LLM call, with the formula filled in."""
        return Response(BillOut(bill(turn_of(user_id=caller_id(request), turn_id=turn_id))).data)


class TurnContextView(APIView):
    @extend_schema(
        operation_id="turn_context",
        responses={200: ContextAuditOut, **problems("401 not_authenticated", "404 not_found")},
    )
    def get(self, request: Request, turn_id: UUID) -> Response:
        """What the calls of a turn could read, what was left out, and why. Once the turn has made a call."""
        turn = turn_of(user_id=caller_id(request), turn_id=turn_id)
        audit = TurnContextAudit.objects.filter(turn=turn).first()
        if audit is None:
            raise NotFound
        return Response(ContextAuditOut(audit).data)


class TurnEstimateView(APIView):
    @extend_schema(operation_id="estimate_turn", request=TurnIn, responses={200: EstimateOut, **ADMISSION})
    def post(self, request: Request, session_id: UUID) -> Response:
        """What this turn would cost at most. Calls no model and holds nothing."""
        asked, _ = turn_request(request, session_id)
        return Response(EstimateOut(estimate(asked)).data)

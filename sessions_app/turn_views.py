"""Turns over HTTP: posted and waited for, posted and streamed, read, estimated, billed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.async_views import AsyncAPIView
from config.core.callers import caller_id
from config.core.errors import DomainError, NotFound
from config.core.idempotency import claim_of
from config.core.openapi import problems
from config.core.paging import KeysetPagination
from config.core.transactions import in_thread
from sessions_app import metrics
from sessions_app.errors import IdempotencyInProgress, TurnFailed
from sessions_app.models import Turn, TurnContextAudit
from sessions_app.serializers import BillOut, ContextAuditOut, EstimateOut, RegenerateIn, TurnIn, TurnOut
from sessions_app.services import session_of
from sessions_app.turns.admission import Started, admit, ended_turn, start
from sessions_app.turns.estimating import estimate
from sessions_app.turns.event_log import TurnEvent
from sessions_app.turns.heartbeats import with_heartbeats
from sessions_app.turns.reading import answer, bill, describe, turn_of
from sessions_app.turns.replaying import stored_events
from sessions_app.turns.turn import TurnRequest

_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="1 to 255 printable ASCII characters"
)
_ADMISSION = problems(
    "400 idempotency_key_malformed",
    "400 malformed_json",
    "401 not_authenticated",
    "402 insufficient_credits",
    "404 not_found",
    "409 turn_in_progress",
    "409 idempotency_in_progress",
    "409 wallet_busy",
    "413 request_too_large",
    "422 validation_error",
    "422 no_room_agents",
    "422 no_valid_tagged_agents",
    "422 context_budget_exceeded",
    "422 unknown_model_alias",
    "422 idempotency_key_reused",
    "503 database_unavailable",
)
_REGENERATION = problems("409 turn_not_regenerable")
_PROVIDER = problems("502 provider_error", "503 provider_unavailable", "504 provider_timeout")


class EventStreamRenderer(BaseRenderer):
    """Lets `Accept: text/event-stream` through content negotiation; the view streams the answer itself."""

    media_type = "text/event-stream"
    format = "event-stream"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return bytes(JSONRenderer().render(data))


def _turn_request(request: Request, session_id: UUID) -> tuple[TurnRequest, bool]:
    """What the client asks for, and whether it waits for a busy session. Runs after authentication."""
    body = TurnIn(data=request.data)
    body.is_valid(raise_exception=True)
    return _asked(request, session_id, body.validated_data), body.validated_data["on_busy"] == "wait"


def _asked(request: Request, session_id: UUID, data: Mapping[str, Any]) -> TurnRequest:
    return TurnRequest(
        user_id=caller_id(request),
        session_id=session_id,
        message=data["message"],
        max_output_tokens=data.get("max_output_tokens") or settings.LLM_MAX_OUTPUT_TOKENS,
        model_alias_override=data.get("model_alias_override"),
        claim=claim_of(request),
        request_id=getattr(request._request, "request_id", ""),
    )


def _regenerate_request(request: Request, turn_id: UUID) -> tuple[TurnRequest, bool]:
    """The request of the caller's own turn once more, as far as the body does not change it."""
    turn = turn_of(user_id=caller_id(request), turn_id=turn_id)
    body = RegenerateIn(data=request.data)
    body.is_valid(raise_exception=True)
    asked = _asked(request, turn.session_id, {**body.validated_data, "message": turn.user_input})
    return replace(asked, regenerates=turn.id), body.validated_data["on_busy"] == "wait"


class _RunsTurn(AsyncAPIView):
    """Starts the turn that a request asks for, and waits for it or streams it."""

    def asked(self, request: Request, id_: UUID) -> tuple[TurnRequest, bool]:
        return _turn_request(request, id_)

    async def _start(self, request: Request, id_: UUID) -> Started:
        """Authenticate, parse and open in one hop; then the turn runs on its own."""
        waits = False

        def unit() -> Any:
            nonlocal waits
            asked, waits = self.asked(request, id_)
            return admit(asked)

        try:
            return await start(partial(self.admitted, request, unit), waits=lambda: waits)
        except DomainError as refusal:
            metrics.turn_refused(refusal.code)
            raise

    async def answered(self, request: Request, id_: UUID) -> HttpResponseBase:
        started = await self._start(request, id_)
        if started.run is not None and not started.replayed:
            # Watching, not awaiting its task: a client that goes away cancels this view, never the turn.
            async for _ in started.run.events.watch():
                pass
            turn = await ended_turn(started.turn_id)
        else:
            turn = _ended(started)
        try:
            shown = await in_thread(partial(answer, turn))
        except TurnFailed as failed:
            failed.headers |= _replayed(started)
            raise
        return Response(TurnOut(shown).data, status=201, headers=_replayed(started))

    async def streamed(self, request: Request, id_: UUID) -> HttpResponseBase:
        started = await self._start(request, id_)
        if started.run is not None:
            return _event_stream(started.run.events.watch(), _replayed(started))
        events = await in_thread(partial(stored_events, _ended(started)))
        return _event_stream(_listed(events), _replayed(started))


class TurnsView(_RunsTurn):
    @extend_schema(
        operation_id="turns", responses={200: TurnOut(many=True), **problems("401 not_authenticated", "404 not_found")}
    )
    async def get(self, request: Request, session_id: UUID) -> HttpResponseBase:
        """The turns of a session, newest first."""

        def unit() -> Response:
            session = session_of(user_id=caller_id(request), session_id=session_id)
            paginator = KeysetPagination()
            rows = paginator.paginate_queryset(Turn.objects.filter(session=session), request, self)
            return paginator.get_paginated_response(TurnOut(describe(rows or []), many=True).data)

        response: Response = await self.admitted(request, unit)
        return response

    @extend_schema(
        operation_id="post_turn", request=TurnIn, parameters=[_KEY], responses={201: TurnOut, **_ADMISSION, **_PROVIDER}
    )
    async def post(self, request: Request, session_id: UUID) -> HttpResponseBase:
        """Run a turn and wait for it. It goes on, and is billed, also when you hang up."""
        return await self.answered(request, session_id)


class RegenerateView(_RunsTurn):
    def asked(self, request: Request, id_: UUID) -> tuple[TurnRequest, bool]:
        return _regenerate_request(request, id_)

    @extend_schema(
        operation_id="regenerate_turn",
        request=RegenerateIn,
        parameters=[_KEY],
        responses={201: TurnOut, **_ADMISSION, **_REGENERATION, **_PROVIDER},
    )
    async def post(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """Make the last turn of a session anew and wait for it: a new turn, billed, in the old one's place."""
        return await self.answered(request, turn_id)


def _ended(started: Started) -> Turn:
    """The stored turn of a replay. Raises: IdempotencyInProgress while it runs."""
    if started.turn is None or started.turn.status in {Turn.Status.QUEUED, Turn.Status.RUNNING}:
        raise IdempotencyInProgress(started.turn_id)
    return started.turn


def _replayed(started: Started) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if started.replayed else {}


class TurnStreamView(_RunsTurn):
    renderer_classes = [JSONRenderer, EventStreamRenderer]

    @extend_schema(
        operation_id="stream_turn",
        request=TurnIn,
        parameters=[_KEY],
        responses={(200, "text/event-stream"): OpenApiTypes.STR, **_ADMISSION},
    )
    async def post(self, request: Request, session_id: UUID) -> HttpResponseBase:
        """Run a turn and watch its events. Exactly one of `done` and `error` ends the stream, after the commit."""
        return await self.streamed(request, session_id)


class RegenerateStreamView(RegenerateView):
    renderer_classes = [JSONRenderer, EventStreamRenderer]

    @extend_schema(
        operation_id="stream_regenerated_turn",
        request=RegenerateIn,
        parameters=[_KEY],
        responses={(200, "text/event-stream"): OpenApiTypes.STR, **_ADMISSION, **_REGENERATION},
    )
    async def post(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """Make the last turn of a session anew and watch its events."""
        return await self.streamed(request, turn_id)


async def _listed(events: list[TurnEvent]) -> AsyncIterator[TurnEvent]:
    for event in events:
        yield event


def _event_stream(events: AsyncIterator[TurnEvent], headers: dict[str, str]) -> HttpResponseBase:
    response = StreamingHttpResponse(with_heartbeats(events), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"
    for name, value in headers.items():
        response[name] = value
    return response


class TurnView(APIView):
    @extend_schema(operation_id="turn", responses={200: TurnOut, **problems("401 not_authenticated", "404 not_found")})
    def get(self, request: Request, turn_id: UUID) -> Response:
        """A turn: status, answers, usage and cost."""
        turn = turn_of(user_id=caller_id(request), turn_id=turn_id)
        return Response(TurnOut(describe([turn])[0]).data)


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
    @extend_schema(operation_id="estimate_turn", request=TurnIn, responses={200: EstimateOut, **_ADMISSION})
    def post(self, request: Request, session_id: UUID) -> Response:
        """What this turn would cost at most. Calls no model and holds nothing."""
        asked, _ = _turn_request(request, session_id)
        return Response(EstimateOut(estimate(asked)).data)

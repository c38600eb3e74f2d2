"""Turns over HTTP: posted and waited for, posted and streamed, read, estimated, billed."""

from __future__ import annotations

import re
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

from config.core.async_views import AsyncAPIView
from config.core.callers import caller_id
from config.core.errors import DomainError, ValidationFailed
from config.core.idempotency import claim_of
from config.core.openapi import problems
from config.core.paging import KeysetPagination
from config.core.transactions import in_thread
from sessions_app import metrics
from sessions_app.errors import IdempotencyInProgress, TurnFailed, TurnNotRegenerable
from sessions_app.limiting import limited, turn_limits
from sessions_app.models import Turn
from sessions_app.serializers import RegenerateIn, ResumeIn, TurnIn, TurnOut, shown_turn
from sessions_app.services import session_of
from sessions_app.turns.admission import Started, admit, ended_turn, is_new, start
from sessions_app.turns.cancelling import cancel
from sessions_app.turns.event_log import TurnEvent
from sessions_app.turns.heartbeats import with_heartbeats
from sessions_app.turns.reading import answer, describe, gave_no_answer, turn_of
from sessions_app.turns.turn import TurnRequest
from sessions_app.turns.watching import replay, watch
from users.api_keys import key_id_of

_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="1 to 255 printable ASCII characters"
)
_PREFER = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, description="`respond-async`: 202 at once, a worker runs the turn"
)
ADMISSION = problems(
    "400 idempotency_key_malformed",
    "400 malformed_json",
    "401 not_authenticated",
    "402 insufficient_credits",
    "402 spending_limit_reached",
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
    "429 rate_limited",
    "503 database_unavailable",
)
_REGENERATION = problems("409 turn_not_regenerable")
_RESUMPTION = problems("409 turn_not_resumable")
_PROVIDER = problems("502 provider_error", "503 provider_unavailable", "504 provider_timeout")


class EventStreamRenderer(BaseRenderer):
    """Lets `Accept: text/event-stream` through content negotiation; the view streams the answer itself."""

    media_type = "text/event-stream"
    format = "event-stream"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return bytes(JSONRenderer().render(data))


def turn_request(request: Request, session_id: UUID) -> tuple[TurnRequest, bool]:
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
        api_key_id=key_id_of(request),
        in_background=wants_async(request) and request._request.path.endswith(("/turns", "/regenerate", "/resume")),
    )


def wants_async(request: Request) -> bool:
    """`Prefer: respond-async` (RFC 7240)."""
    preferences = request.headers.get("Prefer", "").split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


def _regenerate_request(request: Request, turn_id: UUID) -> tuple[TurnRequest, bool]:
    """The request of the caller's own turn once more, as far as the body does not change it."""
    turn = turn_of(user_id=caller_id(request), turn_id=turn_id)
    if turn.continues_id is not None:
        # It is the end of a turn whose beginning stays in the conversation.
        raise TurnNotRegenerable
    body = RegenerateIn(data=request.data)
    body.is_valid(raise_exception=True)
    asked = _asked(request, turn.session_id, {**body.validated_data, "message": turn.user_input})
    # Where an attempt gave no answer the next one is for the same place, or the old answers would stay beside the new.
    is_attempt = turn.regenerates_id is not None and turn.finished_at is not None and gave_no_answer(turn)
    asked = replace(asked, regenerates=turn.regenerates_id if is_attempt else turn.id)
    return asked, body.validated_data["on_busy"] == "wait"


def _resume_request(request: Request, turn_id: UUID) -> tuple[TurnRequest, bool]:
    turn = turn_of(user_id=caller_id(request), turn_id=turn_id)
    body = ResumeIn(data=request.data)
    body.is_valid(raise_exception=True)
    data = {"message": turn.user_input, "max_output_tokens": turn.max_output_tokens}
    return replace(_asked(request, turn.session_id, data), continues=turn.id), body.validated_data["on_busy"] == "wait"


class _RunsTurn(AsyncAPIView):
    """Starts the turn that a request asks for, and waits for it or streams it."""

    def asked(self, request: Request, id_: UUID) -> tuple[TurnRequest, bool]:
        return turn_request(request, id_)

    async def _start(self, request: Request, id_: UUID) -> Started:
        """Authenticate, parse and open in one hop; then the turn runs on its own."""
        waits = False

        def unit() -> Any:
            nonlocal waits
            asked, waits = self.asked(request, id_)
            return limited(partial(admit, asked), claim=asked.claim, limits=turn_limits(asked.user_id), is_new=is_new)

        try:
            return await start(partial(self.admitted, request, unit), waits=lambda: waits)
        except DomainError as refusal:
            metrics.turn_refused(refusal.code)
            raise

    async def answered(self, request: Request, id_: UUID) -> HttpResponseBase:
        started = await self._start(request, id_)
        if wants_async(request):
            return await _accepted(started)
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
        return Response(shown_turn(shown), status=201, headers=_replayed(started))

    async def streamed(self, request: Request, id_: UUID) -> HttpResponseBase:
        started = await self._start(request, id_)
        if started.run is not None:
            return _event_stream(started.run.events.watch(), _replayed(started))
        assert started.turn is not None  # noqa: S101 - a turn of this process has its run
        return _event_stream(await replay(started.turn), _replayed(started))


class TurnsView(_RunsTurn):
    # Also read by the description of the API, which would call a page of turns a mere list.
    pagination_class = KeysetPagination

    @extend_schema(
        operation_id="turns", responses={200: TurnOut(many=True), **problems("401 not_authenticated", "404 not_found")}
    )
    async def get(self, request: Request, session_id: UUID) -> HttpResponseBase:
        """The turns of a session, newest first."""

        def unit() -> Response:
            session = session_of(user_id=caller_id(request), session_id=session_id)
            paginator = self.pagination_class()
            rows = paginator.paginate_queryset(Turn.objects.filter(session=session), request, self)
            return paginator.get_paginated_response(TurnOut(describe(rows or []), many=True).data)

        response: Response = await self.admitted(request, unit)
        return response

    @extend_schema(
        operation_id="post_turn",
        request=TurnIn,
        parameters=[_KEY, _PREFER],
        responses={201: TurnOut, 202: TurnOut, **ADMISSION, **_PROVIDER},
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
        parameters=[_KEY, _PREFER],
        responses={201: TurnOut, 202: TurnOut, **ADMISSION, **_REGENERATION, **_PROVIDER},
    )
    async def post(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """Make the last turn of a session anew and wait for it: a new turn, billed, in the old one's place."""
        return await self.answered(request, turn_id)


async def _accepted(started: Started) -> HttpResponseBase:
    """202: a worker runs the turn, or it was asked for before and may have ended by now."""
    shown = await in_thread(lambda: describe([started.turn or Turn.objects.get(id=started.turn_id)])[0])
    headers = {
        "Location": f"/api/v1/turns/{started.turn_id}",
        "Preference-Applied": "respond-async",
        **_replayed(started),
    }
    return Response(shown_turn(shown), status=202, headers=headers)


def _ended(started: Started) -> Turn:
    """The stored turn of a replay. Raises: IdempotencyInProgress while it runs."""
    if started.turn is None or started.turn.status in {Turn.Status.QUEUED, Turn.Status.RUNNING}:
        raise IdempotencyInProgress(started.turn_id)
    return started.turn


def _replayed(started: Started) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if started.replayed else {}


class ResumeView(_RunsTurn):
    def asked(self, request: Request, id_: UUID) -> tuple[TurnRequest, bool]:
        return _resume_request(request, id_)

    @extend_schema(
        operation_id="resume_turn",
        request=ResumeIn,
        parameters=[_KEY, _PREFER],
        responses={201: TurnOut, 202: TurnOut, **ADMISSION, **_RESUMPTION, **_PROVIDER},
    )
    async def post(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """Continue an interrupted turn and wait: a new turn, at the first one's price, for who had not answered."""
        return await self.answered(request, turn_id)


class TurnStreamView(_RunsTurn):
    renderer_classes = [JSONRenderer, EventStreamRenderer]

    @extend_schema(
        operation_id="stream_turn",
        request=TurnIn,
        parameters=[_KEY],
        responses={(200, "text/event-stream"): OpenApiTypes.STR, **ADMISSION},
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
        responses={(200, "text/event-stream"): OpenApiTypes.STR, **ADMISSION, **_REGENERATION},
    )
    async def post(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """Make the last turn of a session anew and watch its events."""
        return await self.streamed(request, turn_id)


def _event_stream(events: AsyncIterator[TurnEvent], headers: dict[str, str]) -> HttpResponseBase:
    response = StreamingHttpResponse(with_heartbeats(events), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"
    for name, value in headers.items():
        response[name] = value
    return response


class ResumeStreamView(ResumeView):
    renderer_classes = [JSONRenderer, EventStreamRenderer]

    @extend_schema(
        operation_id="stream_resumed_turn",
        request=ResumeIn,
        parameters=[_KEY],
        responses={(200, "text/event-stream"): OpenApiTypes.STR, **ADMISSION, **_RESUMPTION},
    )
    async def post(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """Continue an interrupted turn and watch its events."""
        return await self.streamed(request, turn_id)


class TurnCancelView(AsyncAPIView):
    @extend_schema(
        operation_id="cancel_turn",
        request=None,
        responses={200: TurnOut, 202: TurnOut, **problems("401 not_authenticated", "404 not_found")},
    )
    async def post(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """End a turn: what came so far is kept and billed. 202 while it is stopping, 200 when it has ended."""

        def unit() -> Turn:
            return turn_of(user_id=caller_id(request), turn_id=turn_id)

        turn = await cancel(await self.admitted(request, unit))
        shown = await in_thread(lambda: describe([turn])[0])
        return Response(shown_turn(shown), status=200 if turn.finished_at else 202)


class TurnEventsView(AsyncAPIView):
    renderer_classes = [JSONRenderer, EventStreamRenderer]

    @extend_schema(
        operation_id="turn_events",
        parameters=[
            OpenApiParameter("after", int, description="the number of the last event that was read"),
            OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER, description="the same, from browsers"),
        ],
        responses={
            (200, "text/event-stream"): OpenApiTypes.STR,
            204: None,
            **problems("401 not_authenticated", "404 not_found", "410 events_expired", "422 validation_error"),
        },
    )
    async def get(self, request: Request, turn_id: UUID) -> HttpResponseBase:
        """The events of a turn that were missed, and those to come, wherever it runs. 204 where there are none left."""

        def unit() -> tuple[Turn, int]:
            return turn_of(user_id=caller_id(request), turn_id=turn_id), _position(request)

        turn, after = await self.admitted(request, unit)
        events = await watch(turn, after=after)
        return Response(status=204) if events is None else _event_stream(events, {})


def _position(request: Request) -> int:
    """The number after which the caller wants to read on. Raises: ValidationFailed."""
    field = "after" if "after" in request.query_params else "Last-Event-ID"
    raw = request.query_params.get("after") or request.headers.get("Last-Event-ID") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", raw, re.ASCII):
        raise ValidationFailed("Expected the number of an event.", field=field)
    return int(raw)

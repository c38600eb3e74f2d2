"""Rooms, agents, sessions and history. Turns, which wait for a provider, are in `turn_views`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from config.core.callers import caller_id
from config.core.openapi import problems
from sessions_app import services
from sessions_app.models import Agent, Room, RoomAgent, Session, SessionSummary
from sessions_app.room_serializers import (
    AgentIn,
    AgentOut,
    RoomAgentIn,
    RoomAgentOut,
    RoomIn,
    RoomModeIn,
    RoomOut,
    SeatIn,
    SessionIn,
    SessionOut,
)
from sessions_app.serializers import MessageOut, SummaryOut
from sessions_app.turns.reading import conversation_of, describe_message

_ERRORS = problems("401 not_authenticated", "404 not_found", "422 validation_error")


def _valid(serializer: BaseSerializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class OwnedViewSet(viewsets.GenericViewSet[Any]):
    """Lists in keyset pages, newest first, and only the caller's rows."""

    def page(self, queryset: QuerySet[Any]) -> Response:
        rows = self.paginate_queryset(queryset)
        return self.get_paginated_response(self.get_serializer(rows, many=True).data)


class AgentViewSet(OwnedViewSet):
    serializer_class = AgentOut
    queryset = Agent.objects.all()

    def get_queryset(self) -> QuerySet[Agent]:
        return Agent.objects.filter(user_id=caller_id(self.request), deleted_at__isnull=True)

    def _agent(self, agent_id: UUID) -> Agent:
        return services.agent_of(user_id=caller_id(self.request), agent_id=agent_id)

    @extend_schema(operation_id="agents", responses={200: AgentOut(many=True), **_ERRORS})
    def list(self, request: Request) -> Response:
        """Your agents, newest first."""
        return self.page(self.get_queryset())

    @extend_schema(
        operation_id="create_agent",
        request=AgentIn,
        responses={201: AgentOut, **_ERRORS, **problems("422 unknown_model_alias")},
    )
    def create(self, request: Request) -> Response:
        """Make an agent. `agent_key` is what `@tags` name; it is yours alone."""
        agent = services.create_agent(user_id=caller_id(request), fields=_valid(AgentIn(data=request.data)))
        return Response(AgentOut(agent).data, status=201)

    @extend_schema(operation_id="agent", responses={200: AgentOut, **_ERRORS})
    def retrieve(self, request: Request, agent_id: UUID) -> Response:
        """One of your agents."""
        return Response(AgentOut(self._agent(agent_id)).data)

    @extend_schema(operation_id="update_agent", request=AgentIn(partial=True), responses={200: AgentOut, **_ERRORS})
    def partial_update(self, request: Request, agent_id: UUID) -> Response:
        """Change an agent. Turns that run keep the agent they opened with."""
        agent = self._agent(agent_id)
        fields = _valid(AgentIn(data=request.data, partial=True))
        return Response(AgentOut(services.update_agent(agent, fields)).data)

    @extend_schema(operation_id="delete_agent", responses={204: None, **_ERRORS})
    def destroy(self, request: Request, agent_id: UUID) -> Response:
        """Delete an agent; history and bills keep its name."""
        services.delete_agent(self._agent(agent_id))
        return Response(status=204)


class RoomViewSet(OwnedViewSet):
    serializer_class = RoomOut
    queryset = Room.objects.all()

    def get_queryset(self) -> QuerySet[Room]:
        return Room.objects.filter(
            user_id=caller_id(self.request), deleted_at__isnull=True, standalone_agent__isnull=True
        )

    def _room(self, room_id: UUID) -> Room:
        return services.room_of(user_id=caller_id(self.request), room_id=room_id)

    @extend_schema(operation_id="rooms", responses={200: RoomOut(many=True), **_ERRORS})
    def list(self, request: Request) -> Response:
        """Your rooms, newest first."""
        return self.page(self.get_queryset())

    @extend_schema(operation_id="create_room", request=RoomIn, responses={201: RoomOut, **_ERRORS})
    def create(self, request: Request) -> Response:
        """Make a room."""
        room = services.create_room(user_id=caller_id(request), fields=_valid(RoomIn(data=request.data)))
        return Response(RoomOut(room).data, status=201)

    @extend_schema(operation_id="room", responses={200: RoomOut, **_ERRORS})
    def retrieve(self, request: Request, room_id: UUID) -> Response:
        """One of your rooms."""
        return Response(RoomOut(self._room(room_id)).data)

    @extend_schema(operation_id="update_room", request=RoomIn(partial=True), responses={200: RoomOut, **_ERRORS})
    def partial_update(self, request: Request, room_id: UUID) -> Response:
        """Change a room."""
        room = self._room(room_id)
        return Response(RoomOut(services.update_room(room, _valid(RoomIn(data=request.data, partial=True)))).data)

    @extend_schema(operation_id="set_room_mode", request=RoomModeIn, responses={200: RoomOut, **_ERRORS})
    def set_mode(self, request: Request, room_id: UUID) -> Response:
        """Who speaks in a turn: the tagged agents (manual), all by position (roundtable), the manager's choice."""
        room = self._room(room_id)
        return Response(RoomOut(services.update_room(room, _valid(RoomModeIn(data=request.data)))).data)

    @extend_schema(operation_id="delete_room", responses={204: None, **_ERRORS})
    def destroy(self, request: Request, room_id: UUID) -> Response:
        """Delete a room and with it its sessions; bills stay."""
        services.delete_room(self._room(room_id))
        return Response(status=204)


class RoomAgentViewSet(OwnedViewSet):
    serializer_class = RoomAgentOut
    queryset = RoomAgent.objects.all()
    keyset_ordering = "position"

    def _room(self, room_id: UUID) -> Room:
        return services.room_of(user_id=caller_id(self.request), room_id=room_id)

    @extend_schema(operation_id="room_agents", responses={200: RoomAgentOut(many=True), **_ERRORS})
    def list(self, request: Request, room_id: UUID) -> Response:
        """The agents of a room, by position."""
        seats = RoomAgent.objects.select_related("agent").filter(room=self._room(room_id))
        return self.page(seats)

    @extend_schema(operation_id="add_room_agent", request=RoomAgentIn, responses={201: RoomAgentOut, **_ERRORS})
    def create(self, request: Request, room_id: UUID) -> Response:
        """Put an agent into a room, at the end unless `position` says otherwise."""
        room = self._room(room_id)
        body = _valid(RoomAgentIn(data=request.data))
        seat = services.seat_agent(room, agent_id=body["agent_id"], position=body.get("position"))
        return Response(RoomAgentOut(seat).data, status=201)

    @extend_schema(operation_id="move_room_agent", request=SeatIn, responses={200: RoomAgentOut, **_ERRORS})
    def partial_update(self, request: Request, room_id: UUID, agent_id: UUID) -> Response:
        """Move an agent within the round, or say which files of the room it may read."""
        seat = services.seat_of(self._room(room_id), agent_id=agent_id)
        return Response(RoomAgentOut(services.update_seat(seat, _valid(SeatIn(data=request.data)))).data)

    @extend_schema(operation_id="remove_room_agent", responses={204: None, **_ERRORS})
    def destroy(self, request: Request, room_id: UUID, agent_id: UUID) -> Response:
        """Take an agent out of a room."""
        services.seat_of(self._room(room_id), agent_id=agent_id).delete()
        return Response(status=204)


class RoomSessionViewSet(OwnedViewSet):
    serializer_class = SessionOut
    queryset = Session.objects.all()

    @extend_schema(operation_id="room_sessions", responses={200: SessionOut(many=True), **_ERRORS})
    def list(self, request: Request, room_id: UUID) -> Response:
        """The sessions of a room, newest first."""
        room = services.room_of(user_id=caller_id(request), room_id=room_id)
        return self.page(Session.objects.select_related("room").filter(room=room, deleted_at__isnull=True))

    @extend_schema(operation_id="open_room_session", request=SessionIn, responses={201: SessionOut, **_ERRORS})
    def create(self, request: Request, room_id: UUID) -> Response:
        """Start a session in a room."""
        room = services.room_of(user_id=caller_id(request), room_id=room_id)
        session = services.open_room_session(room, **_valid(SessionIn(data=request.data)))
        return Response(SessionOut(session).data, status=201)


class AgentSessionViewSet(OwnedViewSet):
    serializer_class = SessionOut
    queryset = Session.objects.all()

    @extend_schema(operation_id="agent_sessions", responses={200: SessionOut(many=True), **_ERRORS})
    def list(self, request: Request, agent_id: UUID) -> Response:
        """The sessions with one agent alone, newest first."""
        agent = services.agent_of(user_id=caller_id(request), agent_id=agent_id)
        sessions = Session.objects.select_related("room").filter(room__standalone_agent=agent, deleted_at__isnull=True)
        return self.page(sessions)

    @extend_schema(operation_id="open_agent_session", request=SessionIn, responses={201: SessionOut, **_ERRORS})
    def create(self, request: Request, agent_id: UUID) -> Response:
        """Start a session with one agent alone."""
        agent = services.agent_of(user_id=caller_id(request), agent_id=agent_id)
        session = services.open_agent_session(agent, **_valid(SessionIn(data=request.data)))
        return Response(SessionOut(session).data, status=201)


class SessionViewSet(OwnedViewSet):
    serializer_class = SessionOut
    queryset = Session.objects.all()

    def _session(self, session_id: UUID) -> Session:
        return services.session_of(user_id=caller_id(self.request), session_id=session_id)

    @extend_schema(operation_id="session", responses={200: SessionOut, **_ERRORS})
    def retrieve(self, request: Request, session_id: UUID) -> Response:
        """One of your sessions."""
        return Response(SessionOut(self._session(session_id)).data)

    @extend_schema(
        operation_id="update_session", request=SessionIn(partial=True), responses={200: SessionOut, **_ERRORS}
    )
    def partial_update(self, request: Request, session_id: UUID) -> Response:
        """Give a session a title, or none."""
        session = self._session(session_id)
        fields = _valid(SessionIn(data=request.data, partial=True))
        return Response(SessionOut(services.rename_session(session, **fields) if fields else session).data)

    @extend_schema(operation_id="delete_session", responses={204: None, **_ERRORS})
    def destroy(self, request: Request, session_id: UUID) -> Response:
        """Delete a session; its bills stay."""
        services.delete_session(self._session(session_id))
        return Response(status=204)

    @extend_schema(operation_id="messages", responses={200: MessageOut(many=True), **_ERRORS})
    def messages(self, request: Request, session_id: UUID) -> Response:
        """The shared conversation, newest first. A turn that was made anew is left out."""
        rows = self.paginate_queryset(conversation_of(self._session(session_id)))
        return self.get_paginated_response([describe_message(row) for row in rows or []])

    @extend_schema(operation_id="session_summaries", responses={200: SummaryOut(many=True), **_ERRORS})
    def summaries(self, request: Request, session_id: UUID) -> Response:
        """The notes that were made of older messages, newest first, and where none could be made."""
        rows = self.paginate_queryset(SessionSummary.objects.filter(session=self._session(session_id)))
        return self.get_paginated_response(SummaryOut(rows, many=True).data)

"""Agents, rooms, who sits in them and their sessions, coming in and going out. No business logic here."""

from __future__ import annotations

from django.core.validators import RegexValidator
from rest_framework import serializers

from config.core.fields import ClosedSerializer, IdField, TextField
from sessions_app.models import Agent, Room, RoomAgent, Session
from sessions_app.tools.registry import TOOLS

FILES_NAMED_MAX = 200
ROOM_MODES = [(value, label) for value, label in Room.Mode.choices if value != Room.Mode.STANDALONE]


class AgentOut(serializers.ModelSerializer[Agent]):
    class Meta:
        model = Agent
        fields = [
            "id", "agent_key", "name", "description", "role_prompt", "model_alias", "tool_permissions", "created_at",
            "updated_at",
        ]  # fmt: skip


class AgentIn(ClosedSerializer):
    agent_key = TextField(
        trim_whitespace=False,
        validators=[RegexValidator(r"\A[a-z0-9_]{1,32}\Z", "1 to 32 of a-z, 0-9 and _.", code="invalid")],
    )
    name = TextField(max_length=100, required=False)
    description = TextField(max_length=500, required=False, allow_blank=True)
    role_prompt = TextField(max_length=20_000, required=False, allow_blank=True)
    model_alias = TextField(max_length=64)
    tool_permissions = serializers.ListField(
        child=serializers.ChoiceField(choices=list(TOOLS)), required=False, max_length=len(TOOLS)
    )

    def validate_tool_permissions(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))


class RoomOut(serializers.ModelSerializer[Room]):
    mode = serializers.ChoiceField(choices=ROOM_MODES)

    class Meta:
        model = Room
        fields = ["id", "name", "goal", "mode", "created_at", "updated_at"]


class RoomIn(ClosedSerializer):
    name = TextField(max_length=100)
    goal = TextField(max_length=10_000, required=False, allow_blank=True)
    mode = serializers.ChoiceField(choices=ROOM_MODES, required=False)


class RoomModeIn(ClosedSerializer):
    mode = serializers.ChoiceField(choices=ROOM_MODES)


class RoomAgentOut(serializers.ModelSerializer[RoomAgent]):
    agent_id = serializers.UUIDField()
    agent_key = serializers.CharField(source="agent.agent_key")
    name = serializers.CharField(source="agent.name")
    model_alias = serializers.CharField(source="agent.model_alias")
    # Null: all files of the room.
    file_ids = serializers.ListField(child=serializers.UUIDField(), allow_null=True)

    class Meta:
        model = RoomAgent
        fields = ["agent_id", "agent_key", "name", "model_alias", "position", "file_ids"]


class RoomAgentIn(ClosedSerializer):
    agent_id = IdField()
    position = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)


class SeatIn(ClosedSerializer):
    """Where an agent sits in a room, and which of its files it may read: null for all of them, also later ones."""

    position = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    file_ids = serializers.ListField(child=IdField(), required=False, allow_null=True, max_length=FILES_NAMED_MAX)


class SessionOut(serializers.ModelSerializer[Session]):
    room_id = serializers.SerializerMethodField()
    agent_id = serializers.SerializerMethodField()

    class Meta:
        model = Session
        fields = ["id", "room_id", "agent_id", "title", "created_at"]

    def get_room_id(self, session: Session) -> str | None:
        """Null for a session with one agent alone."""
        return None if session.room.standalone_agent_id else str(session.room_id)

    def get_agent_id(self, session: Session) -> str | None:
        """Null for a session of a room."""
        return str(session.room.standalone_agent_id) if session.room.standalone_agent_id else None


class SessionIn(ClosedSerializer):
    title = TextField(max_length=200, required=False, allow_blank=True)

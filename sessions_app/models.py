"""Rooms, agents, sessions and turns. Deleting a room, agent or session is soft: history and bills keep their names."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.core.ids import uuid7


class Owned(models.Model):
    """A row with an owner, a birth time and a soft end."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Agent(Owned):
    agent_key = models.CharField(max_length=32, validators=[RegexValidator(r"\A[a-z0-9_]{1,32}\Z")])
    name = models.CharField(max_length=100)
    role_prompt = models.TextField(default="", blank=True)
    model_alias = models.CharField(max_length=64)
    tool_permissions = models.JSONField(default=list, blank=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "agents"
        constraints = [
            models.UniqueConstraint(
                fields=["user", "agent_key"], condition=Q(deleted_at__isnull=True), name="agent_key_once_per_user"
            )
        ]

    def __str__(self) -> str:
        return self.agent_key


class Room(Owned):
    class Mode(models.TextChoices):
        MANUAL = "manual"
        ROUNDTABLE = "roundtable"
        ORCHESTRATOR = "orchestrator"
        STANDALONE = "standalone"

    name = models.CharField(max_length=100)
    goal = models.TextField(default="", blank=True)
    mode = models.CharField(max_length=16, choices=Mode.choices, default=Mode.ROUNDTABLE)
    # The unlisted room behind the sessions with one agent alone, so that every call belongs to a room.
    standalone_agent = models.OneToOneField(Agent, null=True, on_delete=models.PROTECT, related_name="+")
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "rooms"
        constraints = [
            models.CheckConstraint(
                condition=Q(mode="standalone", standalone_agent__isnull=False)
                | ~Q(mode="standalone") & Q(standalone_agent__isnull=True),
                name="room_standalone_has_agent",
            )
        ]

    def __str__(self) -> str:
        return self.name


class RoomAgent(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="seats")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    position = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "room_agents"
        constraints = [models.UniqueConstraint(fields=["room", "agent"], name="room_agent_once")]

    def __str__(self) -> str:
        return f"{self.agent_id} in {self.room_id}"


class Session(Owned):
    room = models.ForeignKey(Room, on_delete=models.PROTECT, related_name="+")
    title = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        db_table = "sessions"

    def __str__(self) -> str:
        return self.title or str(self.id)


class Turn(models.Model):
    """One user message and all that the room's agents make of it. Runs under a lease, settled once under a claim."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        PARTIAL = "partial"
        FAILED = "failed"
        CANCELLED = "cancelled"
        INTERRUPTED = "interrupted"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(Session, on_delete=models.PROTECT, related_name="+", db_index=False)
    user_id = models.UUIDField()
    room_id = models.UUIDField()
    turn_index = models.IntegerField()
    mode = models.CharField(max_length=16, choices=Room.Mode.choices)
    status = models.CharField(max_length=16, choices=Status.choices)
    user_input = models.TextField()
    idempotency_key = models.CharField(max_length=255, null=True)
    pricing_version = models.CharField(max_length=64)
    pricing_revision = models.IntegerField()
    # What opening decided and the run follows: the speakers as they were, and what the client was warned of.
    speakers = models.JSONField()
    warnings = models.JSONField(default=list)
    max_output_tokens = models.IntegerField()
    claim = models.UUIDField()
    lease_expires_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=64, default="", blank=True)
    error_detail = models.TextField(default="", blank=True)
    provider_model = models.CharField(max_length=255, default="", blank=True)
    summary_used_fallback = models.BooleanField(default=False)
    request_id = models.CharField(max_length=128)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "turns"
        constraints = [
            models.UniqueConstraint(fields=["session", "turn_index"], name="turn_index_once_per_session"),
            models.UniqueConstraint(
                fields=["session"], condition=Q(status__in=["queued", "running"]), name="turn_one_active_per_session"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running"], finished_at__isnull=True)
                | ~Q(status__in=["queued", "running"]) & Q(finished_at__isnull=False),
                name="turn_ended_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["lease_expires_at"], condition=Q(status="running"), name="turn_running_lease"),
            models.Index(fields=["session", "id"], name="turn_session_newest"),
        ]

    def __str__(self) -> str:
        return f"turn {self.turn_index} of {self.session_id}"


class TurnStep(models.Model):
    """The journal: one row an LLM call, `running` before it is made, rated once it has ended."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="+", db_index=False)
    step_index = models.IntegerField()
    agent_id = models.UUIDField()
    agent_key = models.CharField(max_length=32)
    agent_name = models.CharField(max_length=100)
    purpose = models.CharField(max_length=16)
    model_alias = models.CharField(max_length=64)
    status = models.CharField(max_length=16)
    content = models.TextField(default="", blank=True)
    error_code = models.CharField(max_length=64, default="", blank=True)
    # The rated call as its event will say it; null while it runs.
    call = models.JSONField(null=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "turn_steps"
        constraints = [models.UniqueConstraint(fields=["turn", "step_index"], name="step_index_once_per_turn")]

    def __str__(self) -> str:
        return f"step {self.step_index} of {self.turn_id}"


class Message(models.Model):
    """A shared message of a session: the user's, or one agent's answer. Ids sort in the order of the conversation."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(Session, on_delete=models.PROTECT, related_name="+", db_index=False)
    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=16, choices=Role.choices)
    agent_id = models.UUIDField(null=True)
    agent_key = models.CharField(max_length=32, default="", blank=True)
    agent_name = models.CharField(max_length=100, default="", blank=True)
    content = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "messages"
        indexes = [models.Index(fields=["session", "id"], name="message_session_newest")]

    def __str__(self) -> str:
        return f"{self.role} {self.id}"

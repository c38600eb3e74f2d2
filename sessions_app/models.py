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
    # What others are told of it; its role prompt is its own.
    description = models.CharField(max_length=500, default="", db_default="", blank=True)
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
    # The files of the room that the agent may read; null for all of them.
    file_ids = models.JSONField(null=True, blank=True)
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
    # The numbers of the refusal that a turn failed for, as its problem document says them.
    error_members = models.JSONField(null=True)
    provider_model = models.CharField(max_length=255, default="", blank=True)
    summary_used_fallback = models.BooleanField(default=False)
    # Up to where the summary that this turn makes will stand for the session; null where none is due.
    summary_plan = models.JSONField(null=True)
    # The turn in whose place this one is; the other is no longer read as part of the conversation.
    regenerates = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+")
    # The interrupted turn that this one continues.
    continues = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="+")
    # In whose name the turn's own calls are made: `housekeeper`, and `manager` where an orchestrator routes.
    stand_ins = models.JSONField(null=True)
    # Durable, so that whoever runs or recovers the turn hears of it.
    cancel_requested_at = models.DateTimeField(null=True)
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
            # Reports count these, and read nothing else of them; nearly all turns complete and are not in it.
            models.Index(
                fields=["finished_at", "status"],
                include=["id", "user_id"],
                condition=Q(status__in=["failed", "interrupted", "cancelled", "partial"]),
                name="turn_ended_badly",
            ),
            models.Index(fields=["user_id", "id"], name="turn_user_newest"),
        ]

    def __str__(self) -> str:
        return f"turn {self.turn_index} of {self.session_id}"


class Completion(models.Model):
    """One call through the OpenAI-compatible door. Runs under a lease, settled once under a claim, as a turn does."""

    class Status(models.TextChoices):
        RUNNING = "running"
        COMPLETED = "completed"
        PARTIAL = "partial"
        FAILED = "failed"
        CANCELLED = "cancelled"
        INTERRUPTED = "interrupted"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    model_alias = models.CharField(max_length=64)
    status = models.CharField(max_length=16, choices=Status.choices)
    pricing_version = models.CharField(max_length=64)
    pricing_revision = models.IntegerField()
    claim = models.UUIDField()
    lease_expires_at = models.DateTimeField()
    # Status and body of the answer, kept only where an Idempotency-Key may ask for it again.
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "completions"
        constraints = [
            models.CheckConstraint(
                condition=Q(status="running", finished_at__isnull=True)
                | ~Q(status="running") & Q(finished_at__isnull=False),
                name="completion_ended_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["lease_expires_at"], condition=Q(status="running"), name="completion_running_lease")
        ]

    def __str__(self) -> str:
        return f"completion {self.id} ({self.model_alias})"


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
    # What the call read and what was left out (`context.window.Reading`); what the tools that it asked for gave.
    context = models.JSONField(null=True)
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


class SessionSummary(models.Model):
    """Notes that stand for a session's messages up to a place, made as a metered call of a turn.

    With `used_fallback` the notes could not be made: the row says which messages were left without, stands for none,
    and the next turn tries again.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(Session, on_delete=models.PROTECT, related_name="+", db_index=False)
    turn = models.OneToOneField(Turn, on_delete=models.CASCADE, related_name="+")
    step_id = models.UUIDField(null=True)
    model_alias = models.CharField(max_length=64)
    used_fallback = models.BooleanField()
    fallback_reason = models.CharField(max_length=64, default="", blank=True)
    text = models.TextField(default="", blank=True)
    key_facts = models.JSONField(default=list)
    decisions = models.JSONField(default=list)
    open_questions = models.JSONField(default=list)
    action_items = models.JSONField(default=list)
    # The last message that the notes stand for, and how many they stand for in all.
    through_turn_index = models.IntegerField(null=True)
    through_message_id = models.UUIDField(null=True)
    messages = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "session_summaries"
        verbose_name_plural = "session summaries"
        constraints = [
            models.CheckConstraint(
                condition=Q(used_fallback=True)
                | Q(used_fallback=False, through_turn_index__isnull=False, through_message_id__isnull=False),
                name="summary_stands_for_messages",
            )
        ]
        indexes = [models.Index(fields=["session", "-through_turn_index", "-id"], name="summary_session_newest")]

    def __str__(self) -> str:
        through = "nothing" if self.through_turn_index is None else f"turn {self.through_turn_index}"
        return f"summary of {self.session_id} through {through}"


class TurnContextAudit(models.Model):
    """What a turn's calls could read, and what was left out: one row a turn, with the tightest call's counts.

    Tokens are upper bounds, unless `exact`. `calls` has the counts of each call.
    """

    class Strategy(models.TextChoices):
        ALL = "all"
        SUMMARISED = "summarised"
        PRUNED = "pruned"
        SUMMARISED_AND_PRUNED = "summarised_and_pruned"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    turn = models.OneToOneField(Turn, on_delete=models.CASCADE, related_name="+")
    session = models.ForeignKey(Session, on_delete=models.PROTECT, related_name="+")
    strategy = models.CharField(max_length=24, choices=Strategy.choices)
    explanation = models.TextField()
    model_alias = models.CharField(max_length=64)
    budget_tokens = models.IntegerField()
    reserve_tokens = models.IntegerField()
    required_tokens = models.IntegerField()
    included_messages = models.IntegerField()
    included_tokens = models.IntegerField()
    cut_messages = models.IntegerField()
    cut_tokens = models.IntegerField()
    cut_through_turn_index = models.IntegerField(null=True)
    answers_cut = models.IntegerField()
    notes_tokens = models.IntegerField()
    summarised_messages = models.IntegerField()
    summarised_tokens = models.IntegerField()
    summary_used_fallback = models.BooleanField()
    exact = models.BooleanField()
    calls = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "turn_context_audit"
        verbose_name = "turn context audit"

    def __str__(self) -> str:
        return f"{self.strategy} in {self.turn_id}"

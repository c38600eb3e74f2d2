"""Turns and what belongs to them, coming in and going out. No business logic here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.core.fields import ClosedSerializer, TextField
from sessions_app.models import Agent, Message, Room, Session, SessionSummary, Turn, TurnContextAudit
from sessions_app.room_serializers import SessionOut


class MessageOut(serializers.ModelSerializer[Message]):
    """`id` and `created_at` are null in what a running turn has said so far."""

    id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    agent_key = serializers.CharField(allow_null=True)
    agent_name = serializers.CharField(allow_null=True)

    class Meta:
        model = Message
        fields = ["id", "role", "agent_key", "agent_name", "content", "created_at"]

    def to_representation(self, instance: Message) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return {**shown, "agent_key": shown["agent_key"] or None, "agent_name": shown["agent_name"] or None}


class RegenerateIn(ClosedSerializer):
    """How to make a turn anew. `on_busy`: what to do while another turn of the session runs."""

    model_alias_override = TextField(max_length=64, required=False, allow_null=True)
    max_output_tokens = serializers.IntegerField(min_value=1, required=False)
    on_busy = serializers.ChoiceField(choices=["reject", "wait"], default="reject")

    def validate_max_output_tokens(self, value: int) -> int:
        if value > settings.LLM_MAX_OUTPUT_TOKENS:
            raise serializers.ValidationError(
                f"At most {settings.LLM_MAX_OUTPUT_TOKENS} (LLM_MAX_OUTPUT_TOKENS).", code="max_value"
            )
        return value


class ResumeIn(ClosedSerializer):
    """`on_busy`: what to do while another turn of the session runs."""

    on_busy = serializers.ChoiceField(choices=["reject", "wait"], default="reject")


class TurnIn(RegenerateIn):
    """A message to the room. `on_busy`: what to do while another turn of the session runs."""

    message = TextField(max_length=1_000_000, trim_whitespace=False)

    def validate_message(self, value: str) -> str:
        if not value.strip():
            raise serializers.ValidationError("This field may not be blank.", code="blank")
        return value


class TurnUsageOut(serializers.Serializer[Any]):
    credits_burned = serializers.CharField()
    credits_charged = serializers.CharField()
    llm_calls = serializers.IntegerField()
    input_tokens_fresh = serializers.IntegerField()
    input_tokens_cached = serializers.IntegerField()
    output_tokens = serializers.IntegerField()


class NoteOut(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField()


class TurnOut(serializers.Serializer[Any]):
    """Shape of `turns.reading.describe`."""

    id = serializers.UUIDField()
    session_id = serializers.UUIDField()
    turn_index = serializers.IntegerField()
    mode = serializers.ChoiceField(choices=Room.Mode.choices)
    status = serializers.ChoiceField(choices=Turn.Status.choices)
    user_input = serializers.CharField()
    messages = MessageOut(many=True)
    usage = TurnUsageOut()
    balance_after = serializers.CharField(allow_null=True)
    low_balance = serializers.BooleanField(allow_null=True)
    pricing_version = serializers.CharField()
    pricing_revision = serializers.IntegerField()
    provider_model = serializers.CharField(allow_null=True)
    summary_used_fallback = serializers.BooleanField()
    regenerates = serializers.UUIDField(allow_null=True)
    continues = serializers.UUIDField(allow_null=True)
    regenerated_by = serializers.UUIDField(allow_null=True)
    warnings = NoteOut(many=True)
    error = NoteOut(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


# Makes its fields once. Making them anew for each answer took seven times as long as showing it, on every turn's path.
_TURN_OUT = TurnOut()


def shown_turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """One turn, of `turns.reading.describe`, as clients see it."""
    return _TURN_OUT.to_representation(turn)


class SummaryOut(serializers.ModelSerializer[SessionSummary]):
    class Meta:
        model = SessionSummary
        fields = [
            "id", "turn_id", "model_alias", "used_fallback", "fallback_reason", "text", "key_facts", "decisions",
            "open_questions", "action_items", "through_turn_index", "messages", "created_at",
        ]  # fmt: skip


class ContextAuditOut(serializers.ModelSerializer[TurnContextAudit]):
    class Meta:
        model = TurnContextAudit
        fields = [
            "turn_id", "strategy", "explanation", "model_alias", "budget_tokens", "reserve_tokens", "required_tokens",
            "included_messages", "included_tokens", "cut_messages", "cut_tokens", "cut_through_turn_index",
            "answers_cut", "notes_tokens", "summarised_messages", "summarised_tokens", "summary_used_fallback", "exact",
            "calls", "created_at",
        ]  # fmt: skip


class EstimateOut(serializers.Serializer[Any]):
    credits_max = serializers.CharField()
    credits_first_call = serializers.CharField()
    available = serializers.CharField()
    would_be_refused = serializers.BooleanField()
    # The code of the refusal.
    refused_by = serializers.CharField(allow_null=True)


class BillWeightsOut(serializers.Serializer[Any]):
    input_fresh = serializers.CharField()
    input_cache_write = serializers.CharField()
    input_cached = serializers.CharField()
    output = serializers.CharField()


class BillLineOut(serializers.Serializer[Any]):
    call_index = serializers.IntegerField()
    step_id = serializers.UUIDField()
    agent_key = serializers.CharField()
    agent_name = serializers.CharField()
    purpose = serializers.CharField()
    model_alias = serializers.CharField()
    provider_model = serializers.CharField()
    status = serializers.CharField()
    usage_source = serializers.CharField()
    usage_flags = serializers.ListField(child=serializers.CharField())
    input_tokens_fresh = serializers.IntegerField()
    input_tokens_cached = serializers.IntegerField()
    input_tokens_cache_write = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    oe_tokens = serializers.CharField()
    multiplier = serializers.CharField()
    credits_burned = serializers.CharField()
    credits_charged = serializers.CharField()
    formula = serializers.CharField()


class BillToolOut(serializers.Serializer[Any]):
    call_index = serializers.IntegerField()
    step_id = serializers.UUIDField()
    agent_key = serializers.CharField()
    tool_name = serializers.CharField()
    status = serializers.CharField()
    error_code = serializers.CharField(allow_blank=True)
    latency_ms = serializers.IntegerField()
    result_bytes = serializers.IntegerField()
    called_at = serializers.DateTimeField()
    credits_burned = serializers.CharField()
    credits_charged = serializers.CharField()


class BillOut(serializers.Serializer[Any]):
    """Shape of `turns.reading.bill`."""

    turn_id = serializers.UUIDField()
    status = serializers.CharField()
    pricing_version = serializers.CharField()
    pricing_revision = serializers.IntegerField()
    weights = BillWeightsOut()
    divisor = serializers.CharField()
    calls = BillLineOut(many=True)
    tool_calls = BillToolOut(many=True)
    credits_burned = serializers.CharField()
    credits_charged = serializers.CharField()
    balance_after = serializers.CharField(allow_null=True)


class ExportRoomOut(serializers.ModelSerializer[Room]):
    class Meta:
        model = Room
        fields = ["id", "name", "mode", "goal"]


class ExportAgentOut(serializers.ModelSerializer[Agent]):
    class Meta:
        model = Agent
        fields = ["id", "agent_key", "name"]


class ExportSessionOut(SessionOut):
    """One of `room` and `agent` is null, as with their ids."""

    room = serializers.SerializerMethodField()
    agent = serializers.SerializerMethodField()

    class Meta(SessionOut.Meta):
        fields = [*SessionOut.Meta.fields, "room", "agent"]

    @extend_schema_field(ExportRoomOut(allow_null=True))
    def get_room(self, session: Session) -> dict[str, Any] | None:
        return None if session.room.standalone_agent_id else dict(ExportRoomOut(session.room).data)

    @extend_schema_field(ExportAgentOut(allow_null=True))
    def get_agent(self, session: Session) -> dict[str, Any] | None:
        agent = session.room.standalone_agent
        return None if agent is None else dict(ExportAgentOut(agent).data)


class ExportTotalsOut(serializers.Serializer[Any]):
    turns = serializers.IntegerField()
    llm_calls = serializers.IntegerField()
    credits_burned = serializers.CharField()
    credits_charged = serializers.CharField()


class ExportOut(serializers.Serializer[Any]):
    """Shape of `exporting.JSON`. Turns are in order, oldest first."""

    session = ExportSessionOut()
    turns = TurnOut(many=True)
    totals = ExportTotalsOut()

"""Erasing a person: what identifies them and what they wrote goes, what was used and charged stays.

In an order that may break off anywhere and be begun again: the account is closed first, so that nothing new comes; the
address goes last, so that it still leads here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from billing import erasing as billing_erasing
from billing.redacting import redact_tool_calls
from config.core.models import IdempotencyKey
from files.services import delete_files_of_user
from sessions_app.completions.recovery import recover as recover_completion
from sessions_app.models import (
    Agent,
    Completion,
    Message,
    Room,
    RoomAgent,
    Session,
    SessionSummary,
    Turn,
    TurnContextAudit,
    TurnStep,
)
from sessions_app.turns.cancelling import ask
from sessions_app.turns.event_store import STORE_ERRORS, EventStore
from users import erasing as users_erasing
from users.erasing import ERASED

log = structlog.get_logger(__name__)
# Whoever runs a turn hears of the wish with the next heartbeat; a direct completion is waited for.
WAIT_S = 60.0
_LOOK_EVERY_S = 0.25
_BATCH = 1_000


class StillRunning(Exception):
    """Something of the user's goes on. The account is closed, nothing else was erased: try again."""


@dataclass(frozen=True, slots=True)
class Erased:
    """How much there was."""

    files: int
    messages: int
    turns: int


def erase(user_id: UUID, *, wait_s: float = WAIT_S) -> Erased:
    """Erase a user. What runs is cancelled and settled first: what was used is billed.

    Locks:       no money but what settling and taking limits away lock.
    Idempotent:  yes; what broke off is gone on with.
    Keeps:       all invariants of the ledger, no row of which is touched.
    Raises:      StillRunning, StorageUnavailable.
    """
    users_erasing.close_account(user_id)
    _end_what_runs(user_id, wait_s=wait_s)
    files = delete_files_of_user(user_id)
    turns = list(Turn.objects.filter(user_id=user_id).values_list("id", flat=True))
    messages = 0
    for start in range(0, len(turns), _BATCH):
        messages += _empty_turns(turns[start : start + _BATCH])
    _empty_the_rest(user_id)
    _forget_events(turns)
    billing_erasing.forget(user_id)
    # A request that had been let in before the account was closed may have opened a turn meanwhile.
    if _running(user_id) or Turn.objects.filter(user_id=user_id).exclude(user_input="").exists():
        raise StillRunning
    users_erasing.anonymise(user_id)
    return Erased(files=files, messages=messages, turns=len(turns))


def _running(user_id: UUID) -> list[tuple[Callable[[UUID], object], UUID]]:
    """What goes on, each with how to have it end."""
    turns = Turn.objects.filter(user_id=user_id, finished_at=None).values_list("id", flat=True)
    completions = Completion.objects.filter(user_id=user_id, status=Completion.Status.RUNNING)
    return [
        *[(ask, id_) for id_ in turns],
        *[(recover_completion, id_) for id_ in completions.values_list("id", flat=True)],
    ]


def _end_what_runs(user_id: UUID, *, wait_s: float) -> None:
    """Raises: StillRunning."""
    deadline = time.monotonic() + wait_s
    while running := _running(user_id):
        for end, id_ in running:
            end(id_)
        if time.monotonic() > deadline:
            raise StillRunning
        time.sleep(_LOOK_EVERY_S)


def _empty_turns(turn_ids: list[UUID]) -> int:
    """The words of these turns; returns how many messages there were. Rows that a bill is made of stay."""
    with transaction.atomic():
        messages, _ = Message.objects.filter(turn_id__in=turn_ids).delete()
        SessionSummary.objects.filter(turn_id__in=turn_ids).delete()
        TurnContextAudit.objects.filter(turn_id__in=turn_ids).delete()
        TurnStep.objects.filter(turn_id__in=turn_ids).update(
            content="", context=None, call=None, agent_key=ERASED, agent_name=ERASED
        )
        redact_tool_calls(turn_ids=turn_ids, instead=ERASED)
        Turn.objects.filter(id__in=turn_ids).update(
            user_input="", speakers=[], warnings=[], stand_ins=None, summary_plan=None, error_detail="",
            idempotency_key=None, request_id="",
        )  # fmt: skip
    return messages


def _empty_the_rest(user_id: UUID) -> None:
    """Answers kept for replays, keys, and what rooms, agents and sessions are called. They count as deleted."""
    gone = Coalesce(F("deleted_at"), Now())
    with transaction.atomic():
        Completion.objects.filter(user_id=user_id).update(answer=None)
        IdempotencyKey.objects.filter(caller_id=user_id).delete()
        RoomAgent.objects.filter(room__user_id=user_id).delete()
        Session.objects.filter(user_id=user_id).update(title="", deleted_at=gone)
        Room.objects.filter(user_id=user_id).update(name=ERASED, goal="", deleted_at=gone)
        Agent.objects.filter(user_id=user_id).update(
            agent_key=ERASED, name=ERASED, description="", role_prompt="", tool_permissions=[], deleted_at=gone
        )


def _forget_events(turn_ids: list[UUID]) -> None:
    """The turns' events in Redis, which would stay for a day. Where it is away, they leave by themselves."""

    async def forget() -> None:
        store = EventStore()
        try:
            for start in range(0, len(turn_ids), _BATCH):
                await store.forget(turn_ids[start : start + _BATCH])
        finally:
            await store.aclose()

    try:
        asyncio.run(forget())
    except STORE_ERRORS as error:
        log.warning("events_not_forgotten", error=str(error))

"""What a turn is while it is being opened and run: plain data, passed from opening to running to settling."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from billing.ledger import Place, Reference, Share
from billing.ledger.states import Enforcement
from config.core.idempotency import Claim
from pricing.price_book import PriceBook
from sessions_app.context.conversation import Conversation
from sessions_app.context.summarising import SummaryDue
from sessions_app.context.window import Window
from sessions_app.orchestration import asks
from sessions_app.turns.planning import Plan


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a client asks for.

    `max_output_tokens` is per answer. `regenerates`: the session's last turn, which this one is to take the place of.
    `continues`: the interrupted turn whose remaining agents are to speak. `in_background`: a worker is to run it.
    `api_key_id`: the key that the caller showed.
    """

    user_id: UUID
    session_id: UUID
    message: str
    max_output_tokens: int
    model_alias_override: str | None
    claim: Claim | None
    request_id: str
    regenerates: UUID | None = None
    continues: UUID | None = None
    in_background: bool = False
    api_key_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A turn that could open: everything decided, nothing written.

    `window` and `first_hold` are those of the first call that the turn cannot do without. `summary` is made before it
    where one is due; `summary_fallback` says why one that is due will not be made.
    """

    room_id: UUID
    plan: Plan
    conversation: Conversation
    book: PriceBook
    window: Window
    first_hold: Decimal
    summary: SummaryDue | None
    summary_hold: Decimal
    summary_fallback: str
    enforcement: Enforcement
    next_turn_index: int
    is_untitled: bool

    @property
    def first_share(self) -> Share:
        """The hold for the first call that the turn cannot do without."""
        speaker = asks.first(self.plan).speaker
        return Share(speaker.model_alias, self.first_hold, speaker.agent_id)

    @property
    def summary_share(self) -> Share:
        writer = self.plan.housekeeper
        return Share(writer.model_alias, self.summary_hold, writer.agent_id)


@dataclass(frozen=True, slots=True)
class OpenedTurn:
    """A turn that is running under our claim, or queued. `first_step_id` is already journaled as running.

    `is_held_for`: the hold covers what `prepared` says. Not so where a worker prepared the turn once more.
    """

    id: UUID
    request: TurnRequest
    prepared: Prepared
    lease_claim: UUID
    first_step_id: UUID
    is_held_for: bool = True

    @property
    def reference(self) -> Reference:
        return Reference("turn", self.id)

    @property
    def place(self) -> Place:
        """Where it is spent."""
        return Place(self.prepared.room_id, self.request.api_key_id)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The key stands for a turn that exists already."""

    turn_id: UUID

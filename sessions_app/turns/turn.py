"""What a turn is while it is being opened and run: plain data, passed from opening to running to settling."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from billing.ledger import Reference
from billing.ledger.states import Enforcement
from config.core.idempotency import Claim
from pricing.price_book import PriceBook
from sessions_app.context.window import Utterance, Window
from sessions_app.turns.planning import Plan


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a client asks for. `max_output_tokens` is per LLM call."""

    user_id: UUID
    session_id: UUID
    message: str
    max_output_tokens: int
    model_alias_override: str | None
    claim: Claim | None
    request_id: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A turn that could open: everything decided, nothing written."""

    room_id: UUID
    goal: str
    plan: Plan
    history: tuple[Utterance, ...]
    book: PriceBook
    window: Window
    first_hold: Decimal
    enforcement: Enforcement
    next_turn_index: int


@dataclass(frozen=True, slots=True)
class OpenedTurn:
    """A turn that is running under our claim. `first_step_id` is already journaled as running."""

    id: UUID
    request: TurnRequest
    prepared: Prepared
    lease_claim: UUID
    first_step_id: UUID

    @property
    def reference(self) -> Reference:
        return Reference("turn", self.id)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The key stands for a turn that exists already."""

    turn_id: UUID

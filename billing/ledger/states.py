"""The plain data that the ledger computes with. All credits are decimals at 8 places, all times aware UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pricing.rating import Rated, RatedTool, TokenPools

Enforcement = Literal["off", "warn", "hard"]
EntryKind = Literal["grant", "debit", "refund", "adjustment", "expiry", "top_up"]
# The alias of what no model does: no scoped lot is meant for it.
NO_MODEL = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a hold or an entry is for: `("turn", turn_id)`."""

    type: str
    id: UUID


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a hold: at most so many credits for calls of this alias, in the name of this agent (if any).

    For calls of tools the alias is `NO_MODEL`.
    """

    model_alias: str
    amount: Decimal
    agent_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of work is spent: in a room, with an API key. Both may be unknown."""

    room_id: UUID | None = None
    api_key_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class WalletState:
    """A wallet row, read under its lock."""

    id: UUID
    user_id: UUID
    balance: Decimal
    held: Decimal
    last_seq: int
    last_hash: str
    next_expiry_at: datetime | None
    has_scoped_lots: bool
    has_limits: bool


@dataclass(slots=True)
class Lot:
    """A grant that still has something to burn. `aliases`: what it may pay for; empty for everything."""

    id: UUID
    remaining: Decimal
    priority: int
    expires_at: datetime | None
    created_at: datetime
    aliases: tuple[str, ...] = ()

    def pays_for(self, model_alias: str | None) -> bool:
        """Whether it may pay for a call of this alias; what is no call is paid by any lot."""
        return not self.aliases or model_alias is None or model_alias in self.aliases


@dataclass(frozen=True, slots=True)
class NewLot:
    id: UUID
    kind: str
    amount: Decimal
    priority: int = 50
    expires_at: datetime | None = None
    campaign: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HoldState:
    id: UUID
    amount: Decimal
    status: str
    charged: Decimal | None
    balance_after: Decimal | None
    place: Place = Place()


@dataclass(frozen=True, slots=True)
class OpenHold:
    """What another piece of work reserves of the same wallet."""

    shares: tuple[Share, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Limit:
    """A spending limit as it stands: `spent` since `period_start`, in days or months of `tz`."""

    id: UUID
    subject: str
    subject_id: UUID
    period: str
    amount: Decimal
    tz: str
    spent: Decimal
    period_start: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger entry as it is written, hash included."""

    id: UUID
    wallet_id: UUID
    user_id: UUID
    seq: int
    kind: EntryKind
    amount: Decimal
    balance_after: Decimal
    reference_type: str
    reference_id: UUID | None
    event_id: UUID | None
    grant_id: UUID | None
    idempotency_key: str | None
    reason: str
    initiated_by: str
    created_at: datetime
    entry_hash: str = ""


@dataclass(frozen=True, slots=True)
class Allocation:
    id: UUID
    entry_id: UUID
    grant_id: UUID
    amount: Decimal


@dataclass(frozen=True, slots=True)
class MeteredCall:
    """One LLM call, rated: all that its event needs. `room_id` … `agent_id` are None for a direct completion."""

    event_id: UUID
    call_index: int
    purpose: str
    provider: str
    model_alias: str
    provider_model: str
    pools: TokenPools
    rated: Rated
    multiplier: Decimal
    provider_cost_usd: Decimal | None
    usage_source: str
    usage_flags: tuple[str, ...]
    raw_usage: dict[str, Any] | None
    latency_ms: int
    status: str
    request_id: str
    called_at: datetime
    room_id: UUID | None = None
    session_id: UUID | None = None
    turn_id: UUID | None = None
    step_id: UUID | None = None
    agent_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class MeteredTool:
    """One call of a tool, rated: all that its event needs.

    `asked_by`: the `call_index` of the LLM call that asked for it.
    """

    event_id: UUID
    call_index: int
    asked_by: int
    tool_name: str
    arguments_hash: str
    status: str
    error_code: str
    latency_ms: int
    result_bytes: int
    called_at: datetime
    rated: RatedTool
    room_id: UUID
    session_id: UUID
    turn_id: UUID
    step_id: UUID
    agent_id: UUID
    agent_key: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What settling did: credits charged (sum of the debits) and the balance after it."""

    charged: Decimal
    balance_after: Decimal
    hold_amount: Decimal
    settled_now: bool

    @property
    def exceeded_hold(self) -> bool:
        return self.charged > self.hold_amount


@dataclass(frozen=True, slots=True)
class HoldChange:
    """A hold's new state, written together with the wallet."""

    id: UUID
    status: str
    amount: Decimal
    charged: Decimal | None = None
    balance_after: Decimal | None = None
    # None leaves what it is made up of as it is.
    shares: tuple[Share, ...] | None = None


@dataclass(slots=True)
class Changes:
    """All rows that one ledger transaction writes, gathered for one statement."""

    events: list[dict[str, Any]] = field(default_factory=list)
    tool_events: list[dict[str, Any]] = field(default_factory=list)
    lots_made: list[NewLot] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    allocations: list[Allocation] = field(default_factory=list)
    hold: HoldChange | None = None
    voided: set[UUID] = field(default_factory=set)

"""What is known after the load: by the provider, by the clients, by the fault injector and from stored rows.

All times are `time.time()`, because the database's clock on the same machine is compared with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

ENDED = frozenset({"completed", "partial", "failed", "cancelled", "interrupted"})


@dataclass(slots=True)
class ProviderCall:
    """One request as the provider saw it. `process` is the life of a process that made it, such as `web-a-3`."""

    request_id: str
    process: str
    input_tokens: int
    output_tokens: int
    body_bytes: int
    received_at: float
    ended_at: float | None = None
    is_complete: bool = False
    sent_text: str = ""

    @property
    def turn_id(self) -> str:
        return self.request_id.rpartition("-")[0]

    @property
    def step_index(self) -> int:
        return int(self.request_id.rpartition("-")[2])


@dataclass(slots=True)
class Attempt:
    """One idempotency key of one client, with everything that the client was told under it."""

    user_id: str
    key: str
    kind: str
    turn_ids: set[str] = field(default_factory=set)
    # Turns that the client was told had ended, and how.
    told: dict[str, str] = field(default_factory=dict)
    retries: int = 0
    surprises: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    turn_id: str
    call_index: int
    user_id: str
    status: str
    usage_source: str
    flags: tuple[str, ...]
    fresh: int
    cached: int
    cache_write: int
    output: int
    multiplier: Decimal
    charged: Decimal
    debits: tuple[Decimal, ...] = ()

    @property
    def request_id(self) -> str:
        return f"{self.turn_id}-{self.call_index}"


@dataclass(frozen=True, slots=True)
class StoredTurn:
    id: str
    user_id: str
    session_id: str
    status: str
    key: str | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class StoredWallet:
    """`moved` is the sum of the entries that are no grant."""

    user_id: str
    granted: Decimal
    moved: Decimal
    balance: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str
    victim: str
    killed_at: float
    calls_open: int
    calls_open_in_victim: int
    # PostgreSQL and Redis: when they answered again.
    ready_at: float | None = None


@dataclass(slots=True)
class Evidence:
    calls: list[ProviderCall] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    turns: list[StoredTurn] = field(default_factory=list)
    events: list[StoredEvent] = field(default_factory=list)
    wallets: list[StoredWallet] = field(default_factory=list)

    def death_of(self, process: str) -> float | None:
        return next((fault.killed_at for fault in self.faults if fault.victim == process), None)

    def delays_to_free(self) -> list[tuple[StoredTurn, float]]:
        """Turns that were ended after the death of the process that ran them, with the seconds in between."""
        deaths = {fault.victim: fault.killed_at for fault in self.faults}
        last: dict[str, ProviderCall] = {}
        for call in self.calls:
            if call.turn_id not in last or call.step_index > last[call.turn_id].step_index:
                last[call.turn_id] = call
        found = []
        for turn in self.turns:
            death = deaths.get(last[turn.id].process) if turn.id in last else None
            if death is not None and turn.finished_at is not None and turn.finished_at > death:
                found.append((turn, turn.finished_at - death))
        return found

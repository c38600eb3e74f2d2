"""What a check finds, and what it is asked to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

# Of one kind in one wallet. A wallet that is broken from end to end must not fill the memory, or the screen.
MOST_PER_WALLET = 20
INVARIANTS = tuple(f"L{number}" for number in range(1, 12))


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken invariant. `wallet_id` and `user_id` are None where it concerns no single wallet."""

    invariant: str
    wallet_id: UUID | None
    user_id: UUID | None
    detail: str


class Findings:
    """What one batch of wallets was found to be, in bounded memory."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []
        self.broken: set[UUID | None] = set()
        self._counts: Counter[tuple[str, UUID | None]] = Counter()

    def add(self, invariant: str, wallet_id: UUID | None, user_id: UUID | None, detail: str) -> None:
        self.broken.add(wallet_id)
        self._counts[invariant, wallet_id] += 1
        count = self._counts[invariant, wallet_id]
        if count <= MOST_PER_WALLET:
            self.listed.append(Finding(invariant, wallet_id, user_id, detail))
        elif count == MOST_PER_WALLET + 1:
            self.listed.append(Finding(invariant, wallet_id, user_id, "there are more of these, which are not listed"))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A wallet as its last good check left it. Credits in units of the eighth place."""

    seq: int
    entry_hash: str
    balance: int


@dataclass(frozen=True, slots=True)
class Head:
    """A wallet's row, the checkpoint that there is for it, and from where on it is looked at.

    `after_seq` 0 and `events_from` `-infinity` mean everything. Credits in units of the eighth place; times as text.
    """

    id: UUID
    user_id: UUID
    balance: int
    last_seq: int
    last_hash: str
    updated_at: str
    events_until: str | None
    checkpoint: Checkpoint | None
    after_seq: int
    events_from: str

"""The ledger as the contract has it, in whole numbers: what a wallet must look like after each thing that happens.

Written from docs/ledger-invariants.md and the promises of `billing.ledger`, and shares no code with it. Credits are
units of the eighth place, times are hours on the model's own clock, lots are known by their place in `lots`: in the
order in which they were made.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

# Of the seeded price version, in tenths.
MULTIPLIERS = {"deepseek": 5, "gpt-4o-mini": 10, "gpt-4o": 20}
CREDIT = 10**8
# The alias of what no model does, and what a tool's call costs that succeeded.
TOOL = ""
TOOL_PRICE = 37_000_000


class Refused(Exception):
    """The contract refuses this, and nothing has changed."""


def price(alias: str, output_tokens: int) -> int:
    """10,000 output tokens at 1.0 are one credit. A tool has no tokens: 0 stands for one that failed."""
    if alias == TOOL:
        return TOOL_PRICE if output_tokens else 0
    return output_tokens * MULTIPLIERS[alias] * 1_000


@dataclass
class ModelLot:
    place: int
    left: int
    priority: int = 50
    expires_h: int | None = None
    aliases: tuple[str, ...] = ()
    is_voided: bool = False

    def is_for(self, alias: str | None) -> bool:
        return alias is None or not self.aliases or alias in self.aliases


@dataclass
class Taken:
    """What a debit or a piece of work took, and from which lots; `returned` and `refunded` are what came back."""

    cost: int = 0
    refunded: int = 0
    lots: Counter[int] = field(default_factory=Counter)

    def take(self, cost: int, burnt: Counter[int]) -> None:
        self.cost += cost
        self.lots.update(burnt)

    def give_back(self, amount: int, returned: Counter[int]) -> None:
        self.refunded += amount
        self.lots.subtract(returned)


Shares = list[tuple[str, int]]
# The balance, what is left of each lot, and how many entries there are.
Snapshot = tuple[int, list[int], int]


class LedgerModel:
    def __init__(self) -> None:
        self.hour = self.balance = 0
        self.lots: list[ModelLot] = []
        self.holds: dict[int, Shares] = {}
        self.amounts: dict[int, int] = {}
        self.entries: list[tuple[str, int]] = []
        self.debits: list[tuple[int, Taken]] = []
        self.work: dict[int, Taken] = {}
        # What the user may be charged in all; None for any amount.
        self.cap: int | None = None
        self.charged = 0

    @property
    def held(self) -> int:
        return sum(self.amounts.values())

    def gain(self, kind: str, amount: int, **fields: object) -> None:
        """A new lot repays an overdraft first."""
        repaid = min(amount, max(0, -self.balance))
        self._post(kind, amount)
        self._make_lot(amount - repaid, **fields)

    def expire(self) -> int:
        """What has expired leaves, as far as nothing holds it."""
        before = len(self.entries)
        for lot in self._in_order():
            gone = min(lot.left, max(0, self.balance - self.held))
            if self._has_expired(lot) and gone:
                lot.left -= gone
                self._post("expiry", -gone)
        return len(self.entries) - before

    def hold(self, work: int, shares: Shares, *, is_hard: bool) -> None:
        self._admit(work, shares, is_hard=is_hard)
        self.holds[work], self.amounts[work] = shares, _total(shares)

    def extend(self, work: int, shares: Shares, *, is_hard: bool) -> None:
        """A hold grows and never shrinks; within its amount only scoped lots have a say."""
        self._admit(work, shares, is_hard=is_hard)
        self.holds[work], self.amounts[work] = shares, max(_total(shares), self.amounts[work])

    def settle(self, work: int, calls: Shares) -> int:
        """Bill each call, close the hold, let go what expired under it; returns what was charged."""
        for alias, amount in calls:
            if amount:
                burnt = self._burn("debit", amount, alias)
                taken = Taken(amount, 0, burnt.copy())
                self.debits.append((work, taken))
                self.work.setdefault(work, Taken()).take(amount, burnt)
        self.charged += _total(calls)
        del self.holds[work], self.amounts[work]
        self.expire()
        return _total(calls)

    def refund(self, *, debit: int | None, work: int | None, amount: int | None) -> None:
        """To an overdraft first, then to the lots that paid and are still open, then to a lot of its own."""
        if work is None:
            raise Refused
        whole = self.work[work]
        part = whole if debit is None else self.debits[debit][1]
        left = min(whole.cost - whole.refunded, part.cost - part.refunded)
        wanted = left if amount is None else amount
        if not 0 < wanted <= left:
            raise Refused
        room = {place: min(part.lots[place], whole.lots[place]) for place in part.lots}
        rest = wanted - min(wanted, max(0, -self.balance))
        came_out_of_lots = sum(max(0, most) for most in room.values()) >= rest
        closed = {self.lots[place].aliases for place, most in room.items() if most > 0 and self._is_closed(place)}
        returned: Counter[int] = Counter()
        for lot in reversed(self._in_order()):
            if room.get(lot.place, 0) > 0 and not self._is_closed(lot.place):
                returned[lot.place] = min(room[lot.place], rest)
                rest -= returned[lot.place]
                lot.left += returned[lot.place]
        self._post("refund", wanted)
        for taken in {id(item): item for item in (whole, part)}.values():
            taken.give_back(wanted, returned)
        if rest:
            aliases = closed.pop() if len(closed) == 1 and came_out_of_lots else ()
            self._make_lot(rest, aliases=aliases)

    def void(self, place: int) -> None:
        """What has expired leaves first; where nothing of this lot is left then, nothing happens at all."""
        lot, before = self.lots[place], self._snapshot()
        self.expire()
        if not lot.left:
            self._undo(before)
            raise Refused
        self._post("adjustment", -lot.left)
        lot.left, lot.is_voided = 0, True

    def adjust(self, amount: int) -> None:
        if amount == 0:
            raise Refused
        self.expire()
        if amount > 0:
            self.gain("adjustment", amount)
        else:
            self._burn("adjustment", -amount, None)

    def _admit(self, work: int, shares: Shares, *, is_hard: bool) -> None:
        """What has expired leaves first, unless the hold is refused: then nothing happens at all."""
        before = self._snapshot()
        self.expire()
        if self._is_capped(work, shares) or (is_hard and not self._covers(work, shares)):
            self._undo(before)
            raise Refused

    def _is_capped(self, work: int, shares: Shares) -> bool:
        """What was charged, what others hold and what is asked for may not pass the cap, in any mode."""
        others = sum(_total(held) for other, held in self.holds.items() if other != work)
        return self.cap is not None and 0 < _total(shares) > self.cap - self.charged - others

    def _snapshot(self) -> Snapshot:
        return self.balance, [lot.left for lot in self.lots], len(self.entries)

    def _undo(self, before: Snapshot) -> None:
        self.balance, left, count = before
        del self.entries[count:]
        for lot, units in zip(self.lots, left, strict=True):
            lot.left = units

    def _covers(self, work: int, shares: Shares) -> bool:
        own = self.amounts.get(work, 0)
        if self.balance - self.held < _total(shares) - own and _total(shares) > own:
            return False
        if self._is_scoped():
            # On paper: the other holds burn what they may, the oldest first; each share then needs lots meant for it.
            paper = {lot.place: lot.left for lot in self.lots}
            for other, reserved in self.holds.items():
                for alias, amount in reserved if other != work else ():
                    self._burn_on_paper(paper, alias, amount)
            for alias, amount in shares:
                if sum(paper[lot.place] for lot in self.lots if lot.is_for(alias)) < amount:
                    return False
                self._burn_on_paper(paper, alias, amount)
        return True

    def _burn_on_paper(self, paper: dict[int, int], alias: str, amount: int) -> None:
        for lot in self._in_order(alias):
            burnt = min(paper[lot.place], amount)
            paper[lot.place] -= burnt
            amount -= burnt

    def _is_scoped(self) -> bool:
        return any(lot.left and lot.aliases for lot in self.lots)

    def _post(self, kind: str, amount: int) -> None:
        self.balance += amount
        self.entries.append((kind, amount))

    def _make_lot(self, left: int, **fields: object) -> None:
        self.lots.append(ModelLot(len(self.lots), left, **fields))

    def _in_order(self, alias: str | None = None) -> list[ModelLot]:
        """Those meant for the call first; then by priority, by expiry, by age."""

        def order(lot: ModelLot) -> tuple[bool, int, float, int]:
            expires_h = float("inf") if lot.expires_h is None else lot.expires_h
            return (not lot.is_for(alias), lot.priority, expires_h, lot.place)

        return sorted(self.lots, key=order)

    def _burn(self, kind: str, amount: int, alias: str | None) -> Counter[int]:
        burnt, owed = Counter(), amount
        for lot in self._in_order(alias):
            burnt[lot.place] = min(lot.left, owed)
            lot.left -= burnt[lot.place]
            owed -= burnt[lot.place]
        self._post(kind, -amount)
        return +burnt

    def _has_expired(self, lot: ModelLot) -> bool:
        return lot.expires_h is not None and lot.expires_h < self.hour

    def _is_closed(self, place: int) -> bool:
        return self.lots[place].is_voided or self._has_expired(self.lots[place])


def _total(shares: Shares) -> int:
    return sum(amount for _, amount in shares)

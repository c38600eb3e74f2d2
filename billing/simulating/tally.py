"""What a price book would have charged, call by call, by the arithmetic that bills. No database.

A call whose alias the book lacks would have been refused: it is told apart and in none of the sums that are compared.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

from billing.simulating.history import PastCall
from config.core.money import EXACT, ZERO
from pricing.comparing import percent
from pricing.price_book import PriceBook
from pricing.rating import TOOL_SUCCESS, Rated, RatedTool, rate, rate_tool


@dataclass(slots=True)
class Sums:
    """Credits at 8 places: as they were charged, and as the version would have charged them."""

    calls: int = 0
    credits_charged: Decimal = ZERO
    credits_under_version: Decimal = ZERO

    def add(self, charged: Decimal, under_version: Decimal, *, calls: int = 1) -> None:
        self.calls += calls
        # A draft with a slip in it may come to more digits than Python's own context keeps.
        self.credits_charged = EXACT.add(self.credits_charged, charged)
        self.credits_under_version = EXACT.add(self.credits_under_version, under_version)

    @property
    def difference(self) -> Decimal:
        return EXACT.subtract(self.credits_under_version, self.credits_charged)

    @property
    def percent(self) -> Decimal | None:
        return percent(self.credits_charged, self.credits_under_version)


@dataclass(slots=True)
class Coverage:
    """How many pieces of work (turns, direct calls) cost more than their wallet held when they were settled.

    `hard` would have refused at least these, or ended them early. Each is judged by the balance that there really was:
    that earlier work would have left less, or that the gate asks for the most that a call can cost, is not in it.
    """

    pieces_of_work: int = 0
    not_covered_as_billed: int = 0
    not_covered: int = 0
    # Not covered under the version, though as billed.
    newly_not_covered: int = 0
    # They cost nothing as billed, so no debit tells what the wallet held, and something under the version.
    not_judged: int = 0
    # A call of them has an alias that the version lacks: refused, whatever the wallet held.
    without_price: int = 0


@dataclass(slots=True)
class _Work:
    """The piece of work whose calls are being read."""

    work_id: str = ""
    user_id: str = ""
    sums: Sums = field(default_factory=Sums)
    balance_before: Decimal | None = None
    is_priced: bool = True


class Tally:
    """Fed with calls by piece of work; `finish` counts the last one."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._work = _Work()
        self.by_alias: dict[str, Sums] = defaultdict(Sums)
        self.by_user: dict[str, Sums] = defaultdict(Sums)
        self.without_price: dict[str, Sums] = defaultdict(Sums)
        self.coverage = Coverage()

    @property
    def totals(self) -> Sums:
        found = Sums()
        for sums in self.by_alias.values():
            found.add(sums.credits_charged, sums.credits_under_version, calls=sums.calls)
        return found

    def add(self, call: PastCall) -> None:
        if call.work_id != self._work.work_id:
            self.finish()
            self._work = _Work(call.work_id, call.user_id)
        rated = self._rated(call)
        if rated is None:
            self._work.is_priced = False
            self.without_price[call.model_alias].add(call.credits_charged, ZERO)
            return
        if not call.tool_name:
            self.by_alias[call.model_alias].add(call.credits_charged, rated.credits_charged)
        elif call.credits_charged or rated.credits_charged:
            self.by_alias[f"tool {call.tool_name}"].add(call.credits_charged, rated.credits_charged)
        else:
            # Free then and free now.
            return
        self._work.sums.add(call.credits_charged, rated.credits_charged)
        # Debits only take away, so what there was before the first of them is the most.
        if call.balance_before is not None and (
            self._work.balance_before is None or call.balance_before > self._work.balance_before
        ):
            self._work.balance_before = call.balance_before

    def _rated(self, call: PastCall) -> Rated | RatedTool | None:
        """None for a call whose alias the book lacks."""
        if call.tool_name:
            return rate_tool(status=TOOL_SUCCESS, credits_per_call=self._book.tool_price(call.tool_name))
        price = self._book.find(call.model_alias)
        if price is None:
            return None
        return rate(call.pools, multiplier=price.multiplier, weights=self._book.weights)

    def finish(self) -> None:
        """Count and judge the piece of work whose calls have all come. Once."""
        work, self._work = self._work, _Work()
        if not work.work_id:
            return
        seen, cost, balance = self.coverage, work.sums, work.balance_before
        seen.pieces_of_work += 1
        if cost.calls:
            self.by_user[work.user_id].add(cost.credits_charged, cost.credits_under_version, calls=cost.calls)
        if not work.is_priced:
            seen.without_price += 1
        elif balance is None:
            seen.not_judged += cost.credits_under_version > 0
        else:
            was_covered = cost.credits_charged <= balance
            is_covered = cost.credits_under_version <= balance
            seen.not_covered_as_billed += not was_covered
            seen.not_covered += not is_covered
            seen.newly_not_covered += was_covered and not is_covered

"""L3 and L6: each LLM call's event against its debit, and against its own price.

Nearly every event is right, so whole numbers decide that; `pricing.rating` has the say on those that look wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from billing.invariants.findings import Findings, Head
from billing.invariants.reading import Row, rows, units
from config.core.money import ledger_text, usage_text
from pricing.history import UnknownPriceRevision, book_at
from pricing.price_book import PriceBook
from pricing.rating import TokenPools, Weights, rate

# Version and revision, as text.
Revision = tuple[str, str]
_FREE = "0.00000000"
_EVENTS = """
SELECT s.wallet_id, e.user_id, e.id, e.pricing_version, e.pricing_revision, e.model_alias, e.multiplier,
       e.input_tokens_fresh, e.input_tokens_cached, e.input_tokens_cache_write, e.output_tokens, e.reasoning_tokens,
       e.oe_tokens_computed, e.credits_burned, e.credits_charged, t.seq, t.id, t.amount
  FROM unnest(%(wallets)s::uuid[], %(users)s::uuid[], %(events_from)s::timestamptz[]) AS s(wallet_id, user_id, since)
  JOIN llm_call_events e ON e.user_id = s.user_id AND e.created_at >= s.since
  LEFT JOIN credit_transactions t ON t.event_id = e.id AND t.kind = 'debit'"""


class Tariff(NamedTuple):
    """What an alias costs at one revision: the multiplier as text, and all as whole numbers of the fourth place."""

    multiplier: str
    factor: int
    fresh: int
    cached: int
    cache_write: int
    output: int
    divisor: int

    def rated(self, fresh: int, cached: int, cache_write: int, output: int) -> tuple[int, int, int]:
        """OE tokens and credits burned (4 places), credits charged (8 places): whole numbers of the last place."""
        oe = self.fresh * fresh + self.cached * cached + self.cache_write * cache_write + self.output * output
        product = oe * self.factor
        return oe, _half_even(product, self.divisor), _half_even(product * 10_000, self.divisor)


class Prices:
    """The price books that a check has met so far."""

    def __init__(self) -> None:
        self.books: dict[Revision, PriceBook | None] = {}
        self.tariffs: dict[tuple[str, str, str], Tariff] = {}

    def read(self, revisions: Iterable[Revision]) -> None:
        for version, revision in revisions:
            self.books[version, revision] = book = _book(version, int(revision))
            for alias, price in book.models.items() if book else ():
                tariff = tariff_of(price.multiplier, book.weights) if book else None
                if tariff is not None:
                    self.tariffs[version, revision, alias] = tariff


def tariff_of(multiplier: Decimal, weights: Weights) -> Tariff | None:
    """None for numbers of more than four places, which whole numbers of the fourth cannot say."""
    exact = (multiplier, weights.input_fresh, weights.input_cached, weights.input_cache_write, weights.output,
             weights.divisor)  # fmt: skip
    scaled = [value.scaleb(4) for value in exact]
    if any(value != int(value) for value in scaled):
        return None
    return Tariff(usage_text(multiplier), *map(int, scaled))


def _half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    doubled = 2 * rest
    return quotient + (doubled > denominator or (doubled == denominator and quotient % 2 == 1))


def _book(version: str, revision: int) -> PriceBook | None:
    try:
        return book_at(version, revision)
    except UnknownPriceRevision:
        return None


def check_events(heads: Sequence[Head], found: Findings, prices: Prices) -> None:
    for row in at_known_prices(_EVENTS, heads, prices):
        if not is_sound(row, prices):
            _explain(row, found, prices)


def at_known_prices(sql: str, heads: Sequence[Head], prices: Prices) -> Iterator[Row]:
    """The events of a batch, of which columns 3 and 4 are version and revision; `prices` has those by then.

    Prices cannot be read while events stream in on the same connection. So events at a price that is not known yet are
    passed over, and looked at in a second round: a ledger has few prices, and nearly every batch needs one round.
    """
    parameters = {
        "wallets": [head.id for head in heads],
        "users": [head.user_id for head in heads],
        "events_from": [head.events_from for head in heads],
    }
    unread: set[Revision] = set()
    for row in rows(sql, parameters):
        if (row[3], row[4]) in prices.books:
            yield row
        else:
            unread.add((row[3], row[4]))
    if not unread:
        return
    prices.read(unread)
    for row in rows(sql, parameters):
        if (row[3], row[4]) in unread:
            yield row


def is_sound(row: Row, prices: Prices) -> bool:
    """Does all of it hold? False also where whole numbers cannot tell."""
    tariff = prices.tariffs.get((row[3], row[4], row[5]))
    if tariff is None or tariff.multiplier != row[6]:
        return False
    charged, debited = row[14], row[17]
    if debited != "-" + charged and not (debited is None and charged == _FREE):
        return False
    rated = tariff.rated(int(row[7]), int(row[8]), int(row[9]), int(row[10]))
    try:
        return rated == (units(row[12]), units(row[13]), units(charged))
    except ValueError:
        return False


def _explain(row: Row, found: Findings, prices: Prices) -> None:
    name = compare_debit(row, found, charged=row[14], debit=(row[15], row[16], row[17]))
    problem = _recomputed_otherwise(row, prices.books[row[3], row[4]])
    if problem:
        found.add("L6", UUID(row[0]), UUID(row[1]), f"{name}: {problem}")


def compare_debit(row: Row, found: Findings, *, charged: str, debit: Sequence[str | None]) -> str:
    """L3 of one event, of which columns 0 to 2 are wallet, user and id. `debit`: seq, id and amount, if it has one.

    Returns its name, which names the entry, too.
    """
    wallet_id, user_id = UUID(row[0]), UUID(row[1])
    seq, entry, amount = debit
    name = f"event {row[2]}" + (f" of entry {seq} ({entry})" if entry else "")
    if Decimal(amount or 0) + Decimal(charged) != 0:
        found.add("L3", wallet_id, user_id, f"{name} costs {charged}, its debit is {amount or 'missing'}")
    elif Decimal(charged) == 0 and entry:
        found.add("L3", wallet_id, user_id, f"{name} costs nothing and has a debit")
    return name


def _recomputed_otherwise(row: Row, book: PriceBook | None) -> str | None:
    price_name = f"{row[3]} revision {row[4]}"
    if book is None:
        return f"its price version {price_name} is not on record"
    multiplier, price = Decimal(row[6]), book.find(row[5])
    if price is None or price.multiplier != multiplier:
        return f"multiplier {row[6]} is not the one of {row[5]} in {price_name}"
    pools = TokenPools(int(row[7]), int(row[8]), int(row[9]), int(row[10]), int(row[11]))
    rated = rate(pools, multiplier=multiplier, weights=book.weights)
    if (Decimal(row[12]), Decimal(row[13]), Decimal(row[14])) != (
        rated.oe_tokens, rated.credits_burned, rated.credits_charged,
    ):  # fmt: skip
        return (
            f"stored {row[12]} OE tokens, {row[13]} and {row[14]} credits; recomputed {rated.oe_tokens}, "
            f"{rated.credits_burned} and {ledger_text(rated.credits_charged)}"
        )
    return None

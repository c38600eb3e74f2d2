"""Fill an empty database with a ledger of any size, in which every invariant holds: `--entries 1000000`.

    manage.py embedded --name bench -- python bench/make_ledger.py --entries 1000000 --largest 100000

One wallet of `--largest` entries, the others of about a hundred. Each begins with a grant; every fiftieth entry is
another one; the rest are debits with their calls, which burn the lots oldest first, some of them two at once. Rows are
written with COPY and without the triggers, which would look at each: whether they agree is what `check_ledger` is for.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

# What follows needs Django to be set up.
# ruff: noqa: E402
django.setup()

from django.db import connection, transaction

from billing.ledger.chain import entry_hash, seed_hash
from billing.ledger.states import Entry
from config.core.ids import uuid7
from config.core.money import ZERO, ledger_text
from pricing import cache
from pricing.rating import TokenPools, rate

GRANT_EVERY = 50
LOT = Decimal("60.00000000")
START = datetime(2026, 1, 1, tzinfo=UTC)
# Entries between two rounds of COPY: what the memory holds.
CHUNK = 20_000
COLUMNS = {
    "credit_wallets": "id, user_id, balance, held, last_seq, last_hash, updated_at",
    "credit_grants": "id, user_id, kind, amount, remaining, priority, campaign, created_at",
    "llm_call_events": (
        "id, user_id, room_id, session_id, turn_id, step_id, agent_id, purpose, provider, model_alias, provider_model, "
        "input_tokens_fresh, input_tokens_cached, input_tokens_cache_write, output_tokens, reasoning_tokens, "
        "total_tokens, oe_tokens_computed, multiplier, credits_burned, credits_charged, usage_source, usage_flags, "
        "latency_ms, status, pricing_version, pricing_revision, call_index, request_id, called_at, created_at"
    ),
    "credit_transactions": (
        "id, wallet_id, user_id, seq, kind, amount, balance_after, reference_type, reference_id, event_id, grant_id, "
        "idempotency_key, reason, initiated_by, entry_hash, created_at"
    ),
    "credit_allocations": "id, entry_id, grant_id, amount",
}
Rows = dict[str, list[tuple[Any, ...]]]


class Calls:
    """Some hundreds of rated calls to draw from: rating each anew would take longer than all the rest."""

    def __init__(self, dice: random.Random) -> None:
        self.book = cache.current()
        prices = [price for price in self.book.models.values() if price.multiplier > 0]
        self.kinds = []
        for _ in range(500):
            price = dice.choice(prices)
            pools = TokenPools(dice.randint(1, 4_000), dice.randint(0, 4_000), 0, dice.randint(1, 2_000))
            rated = rate(pools, multiplier=price.multiplier, weights=self.book.weights)
            self.kinds.append((price, pools, rated))

    def row(self, dice: random.Random, user_id: UUID, turn_id: UUID, time: datetime) -> tuple[Any, ...]:
        price, pools, rated = dice.choice(self.kinds)
        return (
            uuid7(), user_id, turn_id, turn_id, turn_id, turn_id, turn_id, "agent", price.provider, price.model_alias,
            price.provider_model, pools.input_fresh, pools.input_cached, pools.input_cache_write, pools.output,
            pools.reasoning, pools.total, rated.oe_tokens, price.multiplier, rated.credits_burned,
            rated.credits_charged, "provider", "[]", 900, "success", self.book.pricing_version, self.book.revision, 1,
            "bench", time, time,
        )  # fmt: skip


class Wallet:
    """One wallet in the making. Its row and its lots are written when it is complete."""

    def __init__(self, dice: random.Random, calls: Calls, entries: int) -> None:
        self.dice, self.calls, self.entries = dice, calls, entries
        self.id, self.user_id = uuid7(), uuid7()
        self.balance, self.seq, self.last_hash, self.time = ZERO, 0, seed_hash(self.id), START
        self.lots: deque[list[Any]] = deque()

    def rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        for index in range(self.entries):
            self.time += timedelta(seconds=self.dice.randint(1, 60), microseconds=self.dice.randint(0, 999_999))
            yield from self._grant() if index % GRANT_EVERY == 0 else self._debit()
        for id_, remaining, time in self.lots:
            yield "credit_grants", self._lot(id_, remaining, time)
        yield (
            "credit_wallets",
            (self.id, self.user_id, self.balance, ZERO, self.seq, self.last_hash, self.time),
        )

    def _lot(self, id_: UUID, remaining: Decimal, time: datetime) -> tuple[Any, ...]:
        return id_, self.user_id, "promo", LOT, remaining, 50, "", time

    def _grant(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        lot_id = uuid7()
        self.lots.append([lot_id, LOT, self.time])
        yield self._entry(kind="grant", amount=LOT, reference_type="grant", reference_id=lot_id, grant_id=lot_id,
                          reason="Gutschrift – «bench»", initiated_by="bench")  # fmt: skip

    def _debit(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        turn_id = uuid7()
        event = self.calls.row(self.dice, self.user_id, turn_id, self.time)
        charged = event[20]
        yield "llm_call_events", event
        name, entry = self._entry(kind="debit", amount=-charged, reference_type="turn", reference_id=turn_id,
                                  event_id=event[0], reason="agent", initiated_by=str(self.user_id))  # fmt: skip
        yield name, entry
        while charged > 0:
            lot = self.lots[0]
            part = min(lot[1], charged)
            lot[1] -= part
            charged -= part
            yield "credit_allocations", (uuid7(), entry[0], lot[0], part)
            if lot[1] == 0:
                yield "credit_grants", self._lot(*self.lots.popleft())

    def _entry(self, *, kind: Any, amount: Decimal, **fields: Any) -> tuple[str, tuple[Any, ...]]:
        self.balance += amount
        self.seq += 1
        values: dict[str, Any] = {"event_id": None, "grant_id": None, "idempotency_key": None} | fields
        entry = Entry(id=uuid7(), wallet_id=self.id, user_id=self.user_id, seq=self.seq, kind=kind, amount=amount,
                      balance_after=self.balance, created_at=self.time, **values)  # fmt: skip
        self.last_hash = entry_hash(self.last_hash, entry)
        sealed = replace(entry, entry_hash=self.last_hash)
        columns = COLUMNS["credit_transactions"].split(", ")
        return "credit_transactions", tuple(getattr(sealed, column) for column in columns)


def make(*, entries: int, largest: int, seed: int) -> int:
    """Returns the number of wallets."""
    dice = random.Random(seed)
    calls = Calls(dice)
    rows: Rows = {table: [] for table in COLUMNS}
    wallets = written = 0
    while written < entries:
        size = min(entries - written, largest if wallets == 0 else dice.randint(60, 140))
        for table, row in Wallet(dice, calls, size).rows():
            rows[table].append(row)
            if len(rows["credit_transactions"]) >= CHUNK:
                write(rows)
        wallets += 1
        written += size
    write(rows)
    return wallets


def write(rows: Rows) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table, columns in COLUMNS.items():
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows[table]:
                    copy.write_row(row)
            rows[table].clear()


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill an empty database with a ledger in which every invariant holds.")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--largest", type=int, default=100_000, help="entries of the largest wallet")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    cache.reload_pricing_cache()
    wallets = make(entries=options.entries, largest=options.largest, seed=options.seed)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    sys.stdout.write(f"{options.entries} entries in {wallets} wallets, {ledger_text(LOT)} credits a lot\n")


if __name__ == "__main__":
    main()

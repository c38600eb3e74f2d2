"""L1 to L10 as functions.

Each looks at stored rows and yields what does not hold. `docs/ledger-invariants.md` has the list.

Everything is read in bounded pieces by keyset, so that a large ledger needs no more memory than a small one. Each batch
of wallets is read in one snapshot: a settlement that commits meanwhile is seen whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from billing.ledger.chain import entry_hash, seed_hash
from billing.ledger.states import Entry
from billing.models import CreditTransaction, CreditWallet, LLMCallEvent
from config.core.money import ledger_text
from pricing.history import UnknownPriceRevision, book_at
from pricing.price_book import PriceBook
from pricing.rating import TokenPools, rate

BATCH = 500
Books = Callable[[str, int], PriceBook]
_ENTRY_COLUMNS = (
    "id", "wallet_id", "user_id", "seq", "kind", "amount", "balance_after", "reference_type", "reference_id",
    "event_id", "grant_id", "idempotency_key", "reason", "initiated_by", "created_at", "entry_hash",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken invariant. `wallet_id` and `user_id` are None where it concerns no single wallet."""

    invariant: str
    wallet_id: UUID | None
    user_id: UUID | None
    detail: str


_PER_WALLET: dict[str, str] = {
    "L1": """
        SELECT w.id, w.user_id, format('balance %%s, entries add up to %%s; last_seq %%s, %%s entries up to %%s',
               w.balance, COALESCE(s.total, 0), w.last_seq, COALESCE(s.n, 0), COALESCE(s.top, 0))
          FROM credit_wallets w LEFT JOIN LATERAL (
               SELECT SUM(amount) AS total, COUNT(*) AS n, MAX(seq) AS top FROM credit_transactions
                WHERE wallet_id = w.id) s ON true
         WHERE w.id = ANY(%(wallets)s) AND (w.balance <> COALESCE(s.total, 0)
               OR w.last_seq <> COALESCE(s.top, 0) OR w.last_seq <> COALESCE(s.n, 0))
        UNION ALL
        SELECT r.wallet_id, r.user_id,
               format('entry %%s: balance_after %%s, running sum %%s', r.seq, r.balance_after, r.sum)
          FROM (SELECT wallet_id, user_id, seq, balance_after,
                       SUM(amount) OVER (PARTITION BY wallet_id ORDER BY seq) AS sum
                  FROM credit_transactions WHERE wallet_id = ANY(%(wallets)s)) r
         WHERE r.balance_after <> r.sum""",
    "L2": """
        SELECT w.id, w.user_id, format('held %%s, open holds add up to %%s', w.held, COALESCE(h.total, 0))
          FROM credit_wallets w LEFT JOIN LATERAL (
               SELECT SUM(amount) AS total FROM credit_holds WHERE wallet_id = w.id AND status = 'open') h ON true
         WHERE w.id = ANY(%(wallets)s) AND (w.held <> COALESCE(h.total, 0) OR w.held < 0)""",
    "L3": """
        SELECT w.id, e.user_id, format('event %%s costs %%s, its debits are %%s of %%s', e.id, e.credits_charged,
               COUNT(t.id), COALESCE(SUM(t.amount), 0))
          FROM llm_call_events e LEFT JOIN credit_wallets w ON w.user_id = e.user_id
          LEFT JOIN credit_transactions t ON t.event_id = e.id AND t.kind = 'debit'
         WHERE e.user_id = ANY(%(users)s)
         GROUP BY w.id, e.id, e.user_id, e.credits_charged
        HAVING COALESCE(SUM(t.amount), 0) <> -e.credits_charged OR COUNT(t.id) > 1
        UNION ALL
        SELECT t.wallet_id, t.user_id, format('debit %%s has no event of this user', t.id)
          FROM credit_transactions t LEFT JOIN llm_call_events e ON e.id = t.event_id AND e.user_id = t.user_id
         WHERE t.wallet_id = ANY(%(wallets)s) AND t.kind = 'debit' AND e.id IS NULL""",
    "L4": """
        SELECT r.wallet_id, r.user_id, format('refunds of entry %%s come to %%s, it took %%s', r.reference_id,
               SUM(r.amount), -MAX(d.amount))
          FROM credit_transactions r LEFT JOIN credit_transactions d
               ON d.id = r.reference_id AND d.wallet_id = r.wallet_id AND d.kind = 'debit'
         WHERE r.wallet_id = ANY(%(wallets)s) AND r.kind = 'refund'
         GROUP BY r.wallet_id, r.user_id, r.reference_id
        HAVING MAX(d.amount) IS NULL OR SUM(r.amount) > -MAX(d.amount)""",
    "L5": """
        SELECT w.id, t.user_id, format('key %%s stands for entry %%s, which carries %%s', k.key, k.resource_id,
               COALESCE(t.idempotency_key, 'no key'))
          FROM credit_transactions t JOIN idempotency_keys k ON k.resource_id = t.id AND k.resource_type = 'entry'
          JOIN credit_wallets w ON w.id = t.wallet_id
         WHERE t.wallet_id = ANY(%(wallets)s) AND t.idempotency_key IS DISTINCT FROM k.key""",
    "L8": """
        SELECT wallet_id, user_id, format('hold %%s for %%s %%s is open since %%s', id, reference_type, reference_id,
               created_at)
          FROM credit_holds WHERE wallet_id = ANY(%(wallets)s) AND status = 'open'
           AND expires_at < clock_timestamp() - make_interval(secs => %(grace_s)s)""",
    "L9": """
        SELECT w.id, w.user_id, format('balance %%s, lots have %%s left', w.balance, COALESCE(SUM(g.remaining), 0))
          FROM credit_wallets w LEFT JOIN credit_grants g ON g.user_id = w.user_id
         WHERE w.id = ANY(%(wallets)s) GROUP BY w.id, w.user_id, w.balance
        HAVING COALESCE(SUM(g.remaining), 0) <> GREATEST(w.balance, 0)
        UNION ALL
        SELECT w.id, w.user_id, format('lot %%s has %%s left of %%s, allocated %%s', g.id, g.remaining, g.amount,
               COALESCE(SUM(a.amount), 0))
          FROM credit_grants g JOIN credit_wallets w ON w.user_id = g.user_id
          LEFT JOIN credit_allocations a ON a.grant_id = g.id
         WHERE w.id = ANY(%(wallets)s) GROUP BY w.id, w.user_id, g.id
        HAVING g.amount - COALESCE(SUM(a.amount), 0) <> g.remaining
        UNION ALL
        SELECT t.wallet_id, t.user_id, format('entry %%s of %%s has %%s allocated', t.id, t.amount, SUM(a.amount))
          FROM credit_transactions t JOIN credit_allocations a ON a.entry_id = t.id
         WHERE t.wallet_id = ANY(%(wallets)s) GROUP BY t.wallet_id, t.user_id, t.id
        HAVING SUM(a.amount) > ABS(t.amount)""",
}

_PROTECTED = ("llm_call_events", "credit_transactions", "credit_allocations")


def check_wallets(*, user_id: UUID | None = None, progress: Callable[[int], Any] = lambda _: None) -> Iterator[Finding]:
    """L1–L5, L8–L10 and L6 for every wallet, or one user's. `progress` is told the number of wallets done."""
    wallets = CreditWallet.objects.order_by("id")
    if user_id is not None:
        wallets = wallets.filter(user_id=user_id)
    # A ledger has few price books: a million events need not read theirs a million times.
    books = lru_cache(maxsize=64)(book_at)
    last: UUID | None = None
    while True:
        page = wallets.filter(id__gt=last) if last else wallets
        batch = list(page.values_list("id", "user_id")[:BATCH])
        if not batch:
            return
        last = batch[-1][0]
        with _snapshot():
            yield from list(_rows_that_break(batch))
            for wallet_id, owner in batch:
                yield from list(_chain(wallet_id))
                yield from list(_recomputation(wallet_id, owner, books))
        progress(len(batch))


def check_everything_else() -> Iterator[Finding]:
    """What concerns no single wallet: L4's triggers, L7, and events of users without a wallet (L3)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pricing_versions WHERE status = 'active'")
        active = cursor.fetchone()[0]
        if active != 1:
            yield Finding("L7", None, None, f"{active} price versions are active")
        cursor.execute(
            """SELECT c.name FROM unnest(%s::text[]) AS c(name) WHERE NOT EXISTS (
                 SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.name::regclass AND t.tgenabled <> 'D'
                    AND t.tgname LIKE 'pgtrigger_append_only%%')""",
            [list(_PROTECTED)],
        )
        for (table,) in cursor.fetchall():
            yield Finding("L4", None, None, f"the append-only trigger of {table} is missing or disabled")
        cursor.execute(
            """SELECT e.user_id, count(*) FROM llm_call_events e
                WHERE e.credits_charged > 0 AND NOT EXISTS (
                  SELECT 1 FROM credit_wallets w WHERE w.user_id = e.user_id) GROUP BY e.user_id LIMIT 100"""
        )
        for owner, count in cursor.fetchall():
            yield Finding("L3", None, owner, f"{count} billed events, but no wallet")


def _snapshot() -> transaction.Atomic:
    """One consistent view for a batch. Inside a caller's transaction, that one's."""
    block = transaction.atomic()
    if connection.in_atomic_block:
        return block
    return _RepeatableRead(using=None, savepoint=True, durable=False)


class _RepeatableRead(transaction.Atomic):
    def __enter__(self) -> None:
        super().__enter__()
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _rows_that_break(batch: Sequence[tuple[UUID, UUID]]) -> Iterator[Finding]:
    parameters: dict[str, Any] = {
        "wallets": [wallet_id for wallet_id, _ in batch],
        "users": [owner for _, owner in batch],
        "grace_s": settings.SWEEP_INTERVAL_S,
    }
    with connection.cursor() as cursor:
        for invariant, sql in _PER_WALLET.items():
            cursor.execute(sql, parameters)
            for wallet_id, owner, detail in cursor.fetchall():
                yield Finding(invariant, wallet_id, owner, detail)


def _chain(wallet_id: UUID) -> Iterator[Finding]:
    """L10: every entry's hash follows from its content and the hash before it, and the wallet ends on the last one."""
    previous, last_seq = seed_hash(wallet_id), 0
    entries = CreditTransaction.objects.filter(wallet_id=wallet_id).order_by("seq")
    while True:
        page = list(entries.filter(seq__gt=last_seq).values(*_ENTRY_COLUMNS)[:BATCH])
        for row in page:
            entry = Entry(**row)
            if entry_hash(previous, entry) != entry.entry_hash:
                yield Finding(
                    "L10", wallet_id, entry.user_id, f"entry {entry.seq} ({entry.id}) does not match its hash"
                )
            previous, last_seq = entry.entry_hash, entry.seq
        if len(page) < BATCH:
            break
    wallet = CreditWallet.objects.get(id=wallet_id)
    if wallet.last_hash != previous:
        yield Finding("L10", wallet_id, wallet.user_id, "the wallet's last hash is not its last entry's")


def _recomputation(wallet_id: UUID, owner: UUID, books: Books) -> Iterator[Finding]:
    """L6: each event's OE tokens and credits follow from its own row and its price version's frozen weights."""
    last: UUID | None = None
    while True:
        events = LLMCallEvent.objects.filter(user_id=owner).order_by("id")
        page = list((events.filter(id__gt=last) if last else events)[:BATCH])
        for event in page:
            problem = _recomputed_otherwise(event, books)
            if problem:
                yield Finding("L6", wallet_id, owner, f"event {event.id}: {problem}")
        if len(page) < BATCH:
            return
        last = page[-1].id


def _recomputed_otherwise(event: LLMCallEvent, books: Books) -> str | None:
    try:
        book = books(event.pricing_version, event.pricing_revision)
    except UnknownPriceRevision:
        return f"its price version {event.pricing_version} revision {event.pricing_revision} is not on record"
    pools = TokenPools(
        event.input_tokens_fresh,
        event.input_tokens_cached,
        event.input_tokens_cache_write,
        event.output_tokens,
        event.reasoning_tokens,
    )
    price = book.find(event.model_alias)
    if price is None or price.multiplier != event.multiplier:
        return (
            f"multiplier {event.multiplier} is not the one of {event.pricing_version} revision {event.pricing_revision}"
        )
    rated = rate(pools, multiplier=event.multiplier, weights=book.weights)
    stored = (event.oe_tokens_computed, event.credits_burned, event.credits_charged)
    if stored != (rated.oe_tokens, rated.credits_burned, rated.credits_charged):
        return f"stored {ledger_text(event.credits_charged)} credits, recomputed {ledger_text(rated.credits_charged)}"
    return None

"""Wallet by wallet, in batches: which ones, from where on, and what was found good.

Each batch is read in one snapshot, and bounded in wallets and about so in entries, so that no snapshot stays open for
long; a wallet that is larger than a batch is one by itself. Nothing is locked: writers go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from billing.invariants.chain import check_chains
from billing.invariants.events import Prices, check_events
from billing.invariants.everything_else import check_keys
from billing.invariants.findings import Checkpoint, Finding, Findings, Head
from billing.invariants.per_wallet import check_rows
from billing.invariants.reading import rows, units
from billing.invariants.tools import check_tools
from config.core.transactions import snapshot

BATCH_WALLETS = 500
BATCH_ENTRIES = 20_000
# Events have no `seq`. Those since the last check are found by their time, with this much of it again: more than a
# clock is ever set back by.
EVENTS_OVERLAP_S = 300
_FROM = """
  FROM credit_wallets w LEFT JOIN ledger_checkpoints c ON c.wallet_id = w.id
  LEFT JOIN credit_transactions t ON t.wallet_id = c.wallet_id AND t.seq = c.seq
 WHERE (%(user_id)s::uuid IS NULL OR w.user_id = %(user_id)s)"""
# What a settlement, a hold or a forger would have moved since. The checkpoint's own entry is looked at in every wallet.
_IS_NEW = """
   AND (c.wallet_id IS NULL OR w.last_seq <> c.seq OR w.last_hash <> c.entry_hash OR w.balance <> c.balance
        OR w.updated_at <> c.wallet_updated_at OR w.held <> 0
        OR c.seq > 0 AND t.entry_hash IS DISTINCT FROM c.entry_hash
        OR EXISTS (SELECT 1 FROM credit_holds h WHERE h.wallet_id = w.id AND h.status = 'open'))"""
_HEADS = """
SELECT w.id, w.user_id, w.balance, w.last_seq, w.last_hash, w.updated_at,
       (SELECT MAX(e.created_at) FROM llm_call_events e WHERE e.user_id = w.user_id),
       c.seq, c.entry_hash, c.balance, c.events_until - make_interval(secs => %(overlap_s)s)"""
_PAGE = " AND (%(last)s::uuid IS NULL OR w.id > %(last)s) ORDER BY w.id LIMIT %(limit)s"


class Extent(NamedTuple):
    wallets: int
    entries: int


def extent(*, user_id: UUID | None = None, only_new: bool = False) -> Extent:
    """How much there is to check, as the wallets say it: for a progress bar."""
    count = "SELECT count(*), COALESCE(sum(w.last_seq - {}), 0)::bigint".format("COALESCE(c.seq, 0)" if only_new else 0)
    with connection.cursor() as cursor:
        cursor.execute(count + _FROM + (_IS_NEW if only_new else ""), {"user_id": user_id})
        return Extent(*cursor.fetchone())


def check_wallets(
    *,
    user_id: UUID | None = None,
    only_new: bool = False,
    progress: Callable[[Extent], Any] = lambda _: None,
    found_good: Callable[[Sequence[Head]], Any] = lambda _: None,
) -> Iterator[Finding]:
    """L1–L6 and L8–L10 for every wallet, or one user's, from its first entry or from its checkpoint on.

    `progress` is told of wallets and entries as they are read, `found_good` of each batch's wallets without a finding,
    outside the snapshot.
    """
    prices = Prices()
    misnamed = check_keys(user_id=user_id)
    yield from misnamed
    broken = {finding.wallet_id for finding in misnamed}
    last: UUID | None = None
    while True:
        found = Findings()
        with snapshot():
            heads = _batch(user_id, last, only_new=only_new)
            if heads:
                check_rows(heads, found)
                check_chains(heads, found, read=lambda entries: progress(Extent(0, entries)))
                check_events(heads, found, prices)
                check_tools(heads, found, prices)
        if not heads:
            return
        last = heads[-1].id
        yield from found.listed
        found_good([head for head in heads if head.id not in found.broken | broken])
        progress(Extent(len(heads), 0))


def _batch(user_id: UUID | None, last: UUID | None, *, only_new: bool) -> list[Head]:
    parameters = {"user_id": user_id, "last": last, "limit": BATCH_WALLETS, "overlap_s": EVENTS_OVERLAP_S}
    heads: list[Head] = []
    entries = 0
    for row in list(rows(_HEADS + _FROM + (_IS_NEW if only_new else "") + _PAGE, parameters)):
        head = _head(row, only_new=only_new)
        entries += head.last_seq - head.after_seq
        if heads and entries > BATCH_ENTRIES:
            break
        heads.append(head)
    return heads


def _head(row: Sequence[Any], *, only_new: bool) -> Head:
    checkpoint = None if row[7] is None else Checkpoint(int(row[7]), row[8], units(row[9]))
    resumed = only_new and checkpoint is not None
    return Head(
        id=UUID(row[0]),
        user_id=UUID(row[1]),
        balance=units(row[2]),
        last_seq=int(row[3]),
        last_hash=row[4],
        updated_at=row[5],
        events_until=row[6],
        checkpoint=checkpoint,
        after_seq=checkpoint.seq if resumed and checkpoint else 0,
        events_from=(row[10] or "-infinity") if resumed else "-infinity",
    )

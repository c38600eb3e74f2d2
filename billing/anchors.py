"""Anchors: one hash over the last entry of every wallet as of a midnight, to be kept outside this database.

    anchor_hash = hex(sha256(lines)); a line `wallet_id:seq:entry_hash\\n` for each wallet with an entry, by wallet id

As each entry is sealed with the one before it, the heads stand for all entries before that time. Who rewrites a wallet
from the first entry on, wallet, checkpoint and anchors included, has to rewrite what was written down elsewhere too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import connection

from billing.closing import is_over
from billing.invariants import Finding
from billing.invariants.reading import rows
from billing.models import CreditWallet, LedgerAnchor
from config.core.ids import uuid7
from config.core.transactions import joined_atomic, patience_sql, snapshot

log = structlog.get_logger(__name__)
# Each anchor stands for everything before it, so the newest says it all; the ones before it tell since when.
VERIFIED = 7
MOST_NAMED = 100
_HEADS = """
SELECT w.id, h.seq, h.entry_hash FROM credit_wallets w CROSS JOIN LATERAL (
       SELECT t.seq, t.entry_hash FROM credit_transactions t
        WHERE t.wallet_id = w.id AND t.created_at < %(as_of)s ORDER BY t.seq DESC LIMIT 1) h
 ORDER BY w.id"""
_MIDNIGHT = "SELECT date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
_SAVE = """
INSERT INTO ledger_anchors (id, as_of, wallets, entries, anchor_hash)
VALUES (%s, %s, %s, %s, %s) ON CONFLICT (as_of) DO NOTHING"""


class WalletHead(NamedTuple):
    """A wallet's last entry before a time. Ids and numbers as text, as they are hashed."""

    wallet_id: str
    seq: str
    entry_hash: str

    def line(self) -> str:
        return f"{self.wallet_id}:{self.seq}:{self.entry_hash}\n"


class State(NamedTuple):
    """The ledger as of a time, in short."""

    wallets: int
    entries: int
    anchor_hash: str


def heads_at(as_of: datetime) -> Iterator[WalletHead]:
    """Read from the entries, streaming. The connection can do nothing else meanwhile."""
    for row in rows(_HEADS, {"as_of": as_of}):
        yield WalletHead(*row)


def state_at(as_of: datetime, *, write: Callable[[str], Any] = lambda _: None) -> State:
    """`write` gets each of the lines that are hashed."""
    digest, wallets, entries = hashlib.sha256(), 0, 0
    with snapshot():
        for head in heads_at(as_of):
            line = head.line()
            digest.update(line.encode())
            write(line)
            wallets += 1
            entries += int(head.seq)
    return State(wallets, entries, digest.hexdigest())


def make_anchor(as_of: datetime | None = None) -> LedgerAnchor | None:
    """Anchor the latest midnight (UTC), unless that was done. None while a transaction from before it may be open.

    Locks:       nothing.
    Idempotent:  on the time. Of two at once one writes, and says so in the log: its line carries the hash elsewhere.
    """
    with connection.cursor() as cursor:
        if as_of is None:
            cursor.execute(_MIDNIGHT)
            as_of = cursor.fetchone()[0]
        made = LedgerAnchor.objects.filter(as_of=as_of).first()
        if made is not None:
            return made
        if not is_over(as_of):
            return None
    return _saved(as_of)


def make_anchor_now() -> LedgerAnchor:
    """Anchor all that is committed at this moment.

    No margin is waited for: whoever posts holds a wallet's row, and reads the clock once it does. While the table is
    locked nobody holds one, so all entries with an earlier time are committed, and whatever comes gets a later one.

    Locks:       all wallets, for the moment in which the clock is read; readers go on.
    Raises:      OperationalError where somebody holds a wallet for longer than the lock timeout.
    """
    with joined_atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT {patience_sql()}")
        cursor.execute("LOCK TABLE credit_wallets IN EXCLUSIVE MODE")
        cursor.execute("SELECT clock_timestamp()")
        as_of = cursor.fetchone()[0]
    return _saved(as_of)


def _saved(as_of: datetime) -> LedgerAnchor:
    state = state_at(as_of)
    with connection.cursor() as cursor:
        cursor.execute(_SAVE, [uuid7(), as_of, *state])
        if cursor.rowcount:
            log.info("ledger_anchored", as_of=utc_text(as_of), **state._asdict())
    return LedgerAnchor.objects.get(as_of=as_of)


def verify_anchors(anchors: Iterable[tuple[datetime, str]]) -> Iterator[Finding]:
    """L10: what was anchored is still what the entries come to."""
    for as_of, anchor_hash in anchors:
        state = state_at(as_of)
        if state.anchor_hash != anchor_hash:
            detail = (
                f"the entries before {utc_text(as_of)}, {state.entries} in {state.wallets} wallets, "
                f"come to {state.anchor_hash}, the anchor says {anchor_hash}"
            )
            yield Finding("L10", None, None, detail)


def verify_stored_anchors() -> Iterator[Finding]:
    """The newest ones: bounded work, however old the ledger is."""
    newest = LedgerAnchor.objects.order_by("-as_of").values_list("as_of", "anchor_hash")[:VERIFIED]
    return verify_anchors(list(newest))


def verify_heads(as_of: datetime, known: Iterator[WalletHead]) -> Iterator[Finding]:
    """L10, by name: each wallet whose last entry before that time is not the one that was written down.

    Both sides come sorted by wallet id and are read once, side by side. At most a hundred are named.
    """
    differing: list[tuple[str, str]] = []
    unnamed = 0
    with snapshot():
        for difference in _differences(heads_at(as_of), known):
            if len(differing) < MOST_NAMED:
                differing.append(difference)
            else:
                unnamed += 1
    owners = dict(CreditWallet.objects.filter(id__in=[id_ for id_, _ in differing]).values_list("id", "user_id"))
    for id_, detail in differing:
        wallet_id = UUID(id_)
        yield Finding("L10", wallet_id, owners.get(wallet_id), f"as of {utc_text(as_of)} {detail}")
    if unnamed:
        yield Finding("L10", None, None, f"as of {utc_text(as_of)} {unnamed} more wallets differ, which are not listed")


def _differences(stored: Iterator[WalletHead], known: Iterator[WalletHead]) -> Iterator[tuple[str, str]]:
    ours, theirs = next(stored, None), next(known, None)
    while ours or theirs:
        if theirs is None or (ours is not None and ours.wallet_id < theirs.wallet_id):
            assert ours is not None  # noqa: S101 - one of the two is there
            yield ours.wallet_id, f"it ends on entry {ours.seq}, and the file does not know it"
            ours = next(stored, None)
        elif ours is None or theirs.wallet_id < ours.wallet_id:
            yield theirs.wallet_id, f"it has no entry, the file says it ended on entry {theirs.seq}"
            theirs = next(known, None)
        else:
            if ours != theirs:
                yield (
                    ours.wallet_id,
                    (
                        f"it ends on entry {ours.seq} with hash {ours.entry_hash}, "
                        f"the file says entry {theirs.seq} with hash {theirs.entry_hash}"
                    ),
                )
            ours, theirs = next(stored, None), next(known, None)


def utc_text(as_of: datetime) -> str:
    return as_of.astimezone(UTC).isoformat().replace("+00:00", "Z")

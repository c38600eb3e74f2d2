"""L1 and L10: each wallet's entries from the first to the last, as sums and as a chain of hashes.

The canonical text is written out here once more: by hand it takes a fifth of the time that `billing.ledger.chain` does,
which stays the reference (a test holds one against the other), and a check that shares no code with what it checks does
not share its mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, groupby
from json.encoder import encode_basestring_ascii as quoted
from operator import itemgetter

from billing.invariants.findings import MOST_PER_WALLET, Checkpoint, Findings, Head
from billing.invariants.reading import Row, credits_text, rows, units
from billing.ledger.chain import seed_hash

STEP = 2_000
# The columns in the order in which the canonical text has them.
_ENTRIES = """
SELECT t.wallet_id, t.seq, t.id, t.amount, t.balance_after,
       to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), t.event_id, t.grant_id,
       t.idempotency_key, t.initiated_by, t.kind, t.reason, t.reference_id, t.reference_type, t.user_id, t.entry_hash
  FROM unnest(%(wallets)s::uuid[], %(after)s::bigint[]) AS s(wallet_id, after_seq)
  JOIN credit_transactions t ON t.wallet_id = s.wallet_id AND t.seq >= s.after_seq
 ORDER BY t.wallet_id, t.seq"""


def canonical_text(row: Row) -> str:
    """An entry's canonical JSON from a row of `_ENTRIES`; the same bytes as `billing.ledger.chain.canonical`."""
    (wallet, seq, id_, amount, balance_after, created_at, event, grant, key, initiated_by, kind, reason, reference,
     reference_type, user, _) = row  # fmt: skip
    return (
        f'{{"amount":"{amount}","balance_after":"{balance_after}","created_at":"{created_at}",'
        f'"event_id":{_id(event)},"grant_id":{_id(grant)},"id":"{id_}",'
        f'"idempotency_key":{"null" if key is None else quoted(key)},"initiated_by":{quoted(initiated_by)},'
        f'"kind":{quoted(kind)},"reason":{quoted(reason)},'
        f'"reference_id":{_id(reference)},"reference_type":{quoted(reference_type)},"seq":{seq},'
        f'"user_id":"{user}","wallet_id":"{wallet}"}}'
    )


def _id(value: str | None) -> str:
    return f'"{value}"' if value else "null"


def check_chains(heads: Iterable[Head], found: Findings, read: Callable[[int], object]) -> None:
    """Read the entries of a batch of wallets. `read` is told of every so many of them."""
    wallets = {str(head.id): head for head in heads}
    parameters = {"wallets": list(wallets), "after": [head.after_seq for head in wallets.values()]}
    for wallet_id, entries in groupby(_counted(rows(_ENTRIES, parameters), read), key=itemgetter(0)):
        _WalletCheck(wallets.pop(wallet_id), found).run(entries)
    for head in wallets.values():
        _WalletCheck(head, found).run(iter(()))


def _counted(entries: Iterator[Row], read: Callable[[int], object]) -> Iterator[Row]:
    count = 0
    for count, entry in enumerate(entries, start=1):
        yield entry
        if count % STEP == 0:
            read(STEP)
    read(count % STEP)


@dataclass(frozen=True, slots=True)
class _Suspect:
    """An entry that does not match its hash, until the next one tells whether its content or its hash was changed."""

    name: str
    computed: str
    explanation: str


class _WalletCheck:
    """One wallet's entries in the order of `seq`.

    After a break it goes on from what is stored, or from what should be, whichever the next entry continues: one
    altered entry is one finding, and not one for each that comes after it.
    """

    def __init__(self, head: Head, found: Findings) -> None:
        self.head = head
        self.found = found
        self.user = str(head.user_id)
        self.previous = seed_hash(head.id)
        self.seq = 0
        # The running sum as the entry before says it, the one that it should say, and the sum of all amounts.
        self.balance = self.expected = self.total = 0
        self.suspect: _Suspect | None = None
        self.strangers: list[str] = []

    def run(self, entries: Iterator[Row]) -> None:
        if self.head.after_seq:
            entries = self._resume(entries)
        for row in entries:
            if not self._continues(row):
                self._look_closer(row)
            if self.head.checkpoint is not None and self.seq == self.head.checkpoint.seq:
                self._compare_checkpoint(row)
        self._end()

    def _continues(self, row: Row) -> bool:
        """All that there is to check, for an entry of which nothing is wrong: nearly every one."""
        try:
            balance, amount = units(row[4]), units(row[3])
        except ValueError:
            return False
        if (
            balance != self.balance + amount
            or int(row[1]) != self.seq + 1
            or row[14] != self.user
            or self.suspect is not None
            or _hash(self.previous, row) != row[15]
        ):
            return False
        self.seq += 1
        self.balance = self.expected = balance
        self.total += amount
        self.previous = row[15]
        return True

    def _look_closer(self, row: Row) -> None:
        seq, name = int(row[1]), f"entry {row[1]} ({row[2]})"
        follows_gap = seq != self.seq + 1
        if follows_gap:
            self._add("L1", f"entries {self.seq + 1} to {seq - 1} are missing before {name}")
        self._sum(row, name, follows_gap=follows_gap)
        self._seal(row, name, follows_gap=follows_gap)
        if row[14] != self.user:
            self.strangers.append(name)
            del self.strangers[MOST_PER_WALLET:]
        self.seq = seq

    def _sum(self, row: Row, name: str, *, follows_gap: bool) -> None:
        try:
            balance, amount = units(row[4]), units(row[3])
        except ValueError:
            self._add("L1", f"{name}: {row[3]} or {row[4]} is no number")
            return
        after_stored, after_expected = self.balance + amount, self.expected + amount
        self.total += amount
        self.balance = self.expected = balance
        if balance not in (after_stored, after_expected) and not follows_gap:
            self.expected = after_stored
            self._add("L1", f"{name}: balance_after {row[4]}, running sum {credits_text(after_stored)}")

    def _seal(self, row: Row, name: str, *, follows_gap: bool) -> None:
        computed, stored = _hash(self.previous, row), row[15]
        suspect, self.suspect = self.suspect, None
        continues_suspect = suspect is not None and _hash(suspect.computed, row) == stored
        if suspect is not None:
            self._accuse(suspect, hash_was_changed=continues_suspect)
        if computed != stored and not continues_suspect:
            explanation = "it does not continue the one before the gap" if follows_gap else "its content was changed"
            self.suspect = _Suspect(name, computed, explanation)
        self.previous = stored

    def _accuse(self, suspect: _Suspect, *, hash_was_changed: bool) -> None:
        explanation = "its entry_hash was changed" if hash_was_changed else suspect.explanation
        self._add("L10", f"{suspect.name} does not match its hash: {explanation}")

    def _resume(self, entries: Iterator[Row]) -> Iterator[Row]:
        """Go on where the last good check ended, if its entry is still the one that it saw."""
        checkpoint = self.head.checkpoint
        if checkpoint is None:
            return entries
        self.seq, self.previous = checkpoint.seq, checkpoint.entry_hash
        self.balance = self.expected = self.total = checkpoint.balance
        first = next(entries, None)
        if first is None or int(first[1]) != checkpoint.seq:
            self._checkpoint_is_gone(checkpoint)
            return entries if first is None else chain((first,), entries)
        self._compare_checkpoint(first)
        return entries

    def _compare_checkpoint(self, row: Row) -> None:
        checkpoint = self.head.checkpoint
        if checkpoint is not None and row[15] != checkpoint.entry_hash:
            self._add("L10", f"entry {row[1]} ({row[2]}) is not the one that the last good check ended on")

    def _checkpoint_is_gone(self, checkpoint: Checkpoint) -> None:
        self._add("L10", f"entry {checkpoint.seq}, which the last good check ended on, is gone")

    def _end(self) -> None:
        head = self.head
        if head.checkpoint is not None and head.checkpoint.seq > self.seq:
            self._checkpoint_is_gone(head.checkpoint)
        if head.balance != self.total or head.last_seq != self.seq:
            self._add(
                "L1",
                f"balance {credits_text(head.balance)}, entries add up to {credits_text(self.total)}; "
                f"last_seq {head.last_seq}, entries up to {self.seq}",
            )
        continues_suspect = self.suspect is not None and self.suspect.computed == head.last_hash
        if self.suspect is not None:
            self._accuse(self.suspect, hash_was_changed=continues_suspect)
        if head.last_hash != self.previous and not continues_suspect:
            self._add("L10", f"the wallet's last hash is not the one of its last entry, {self.seq}")
        if self.strangers:
            self._add("L1", f"{self.strangers[0]} is another user's, as are {len(self.strangers) - 1} or more others")

    def _add(self, invariant: str, detail: str) -> None:
        self.found.add(invariant, self.head.id, self.head.user_id, detail)


def _hash(previous: str, row: Row) -> str:
    return sha256((previous + canonical_text(row)).encode()).hexdigest()

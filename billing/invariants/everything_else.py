"""What concerns no single wallet: L4's triggers, L5's keys, L7, and rows whose wallet does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.db import connection

from billing.invariants.findings import Finding

_PROTECTED = ("llm_call_events", "tool_call_events", "credit_transactions", "credit_allocations", "ledger_anchors")
MOST = 100
_ACTIVE_VERSIONS = "SELECT count(*) FROM pricing_versions WHERE status = 'active'"
_UNPROTECTED = """
SELECT c.name FROM unnest(%s::text[]) AS c(name) WHERE NOT EXISTS (
    SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.name::regclass AND t.tgenabled <> 'D'
       AND t.tgname LIKE 'pgtrigger_append_only%%')"""
_EVENTS_WITHOUT_WALLET = """
SELECT e.user_id, count(*) FROM charged_events e
 WHERE e.credits_charged > 0 AND NOT EXISTS (SELECT 1 FROM credit_wallets w WHERE w.user_id = e.user_id)
 GROUP BY e.user_id LIMIT %s"""
_ENTRIES_WITHOUT_WALLET = """
SELECT t.wallet_id, t.user_id, t.seq, t.id FROM credit_transactions t
 WHERE NOT EXISTS (SELECT 1 FROM credit_wallets w WHERE w.id = t.wallet_id) LIMIT %s"""
_CHECKPOINTS_WITHOUT_WALLET = """
SELECT c.wallet_id, c.seq FROM ledger_checkpoints c
 WHERE NOT EXISTS (SELECT 1 FROM credit_wallets w WHERE w.id = c.wallet_id) LIMIT %s"""
# In one pass for all wallets: keys are not indexed by what they stand for.
_KEYS = """
SELECT t.wallet_id, t.user_id, format('key %%s stands for entry %%s (%%s), which carries %%s', k.key, t.seq, t.id,
       COALESCE(t.idempotency_key, 'no key'))
  FROM idempotency_keys k JOIN credit_transactions t ON t.id = k.resource_id
 WHERE k.resource_type = 'entry' AND t.idempotency_key IS DISTINCT FROM k.key
   AND (%(user_id)s::uuid IS NULL OR t.user_id = %(user_id)s) LIMIT %(most)s"""


def check_everything_else(*, everywhere: bool = True) -> Iterator[Finding]:
    """`everywhere` reads all entries and events once more, for those whose wallet does not exist."""
    with connection.cursor() as cursor:
        cursor.execute(_ACTIVE_VERSIONS)
        active = cursor.fetchone()[0]
        if active != 1:
            yield Finding("L7", None, None, f"{active} price versions are active")
        cursor.execute(_UNPROTECTED, [list(_PROTECTED)])
        for (table,) in cursor.fetchall():
            yield Finding("L4", None, None, f"the append-only trigger of {table} is missing or disabled")
    if everywhere:
        yield from _without_wallet()


def _without_wallet() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(_EVENTS_WITHOUT_WALLET, [MOST])
        for owner, count in cursor.fetchall():
            yield Finding("L3", None, owner, f"{count} billed events, but no wallet")
        cursor.execute(_ENTRIES_WITHOUT_WALLET, [MOST])
        for wallet_id, owner, seq, id_ in cursor.fetchall():
            yield Finding("L1", wallet_id, owner, f"entry {seq} ({id_}) is of a wallet that does not exist")
        cursor.execute(_CHECKPOINTS_WITHOUT_WALLET, [MOST])
        for wallet_id, seq in cursor.fetchall():
            yield Finding("L10", wallet_id, None, f"the wallet, last found good at entry {seq}, is gone")


def check_keys(*, user_id: UUID | None) -> list[Finding]:
    """L5: a key that stands for an entry is that entry's."""
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, {"user_id": user_id, "most": MOST})
        return [Finding("L5", wallet_id, owner, detail) for wallet_id, owner, detail in cursor.fetchall()]

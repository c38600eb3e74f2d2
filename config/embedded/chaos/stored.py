"""Reading what the program stored, by SQL of our own, when everything has come to rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.db import connection

from billing.invariants import check_everything_else, check_wallets
from config.embedded.chaos.evidence import Evidence, StoredEvent, StoredTurn, StoredWallet

_TURNS = """
    SELECT id, user_id, session_id, status, idempotency_key, extract(epoch FROM finished_at)
      FROM turns ORDER BY id"""
_EVENTS = """
    SELECT e.turn_id, e.call_index, e.user_id, e.status, e.usage_source, e.usage_flags, e.input_tokens_fresh,
           e.input_tokens_cached, e.input_tokens_cache_write, e.output_tokens, e.multiplier, e.credits_charged,
           array_remove(array_agg(t.amount ORDER BY t.seq), NULL)
      FROM llm_call_events e LEFT JOIN credit_transactions t ON t.event_id = e.id
     GROUP BY e.id ORDER BY e.id"""
_WALLETS = """
    SELECT w.user_id, COALESCE(SUM(t.amount) FILTER (WHERE t.kind = 'grant'), 0),
           COALESCE(SUM(t.amount) FILTER (WHERE t.kind <> 'grant'), 0), w.balance, w.held
      FROM credit_wallets w LEFT JOIN credit_transactions t ON t.wallet_id = w.id
     GROUP BY w.id ORDER BY w.id"""


def read_into(evidence: Evidence) -> None:
    evidence.turns = [
        StoredTurn(str(id_), str(user), str(session), status, key, None if ended is None else float(ended))
        for id_, user, session, status, key, ended in _rows(_TURNS)
    ]
    evidence.events = [_event(row) for row in _rows(_EVENTS)]
    evidence.wallets = [StoredWallet(str(user), *amounts) for user, *amounts in _rows(_WALLETS)]


def _event(row: tuple[Any, ...]) -> StoredEvent:
    turn, index, user, status, source, flags, fresh, cached, cache_write, output, multiplier, charged, debits = row
    return StoredEvent(
        str(turn), index, str(user), status, source, tuple(json.loads(flags)), fresh, cached, cache_write, output,
        multiplier, charged, tuple(debits),
    )  # fmt: skip


def count_active_turns() -> int:
    return int(next(_rows("SELECT count(*) FROM turns WHERE status IN ('queued', 'running')"))[0])


def broken_invariants() -> Iterator[str]:
    """L1 to L10, as `check_ledger` checks them."""
    for finding in (*check_everything_else(), *check_wallets()):
        yield f"{finding.invariant}: wallet {finding.wallet_id}: {finding.detail}"


def _rows(sql: str) -> Iterator[tuple[Any, ...]]:
    # PostgreSQL was killed since the last query: a connection from before is of no use.
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute(sql)
        yield from cursor.fetchall()

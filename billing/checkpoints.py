"""Where the next `check_ledger --new` goes on: wallets as they were when they were found good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from django.db import DatabaseError, connection, transaction

from billing.invariants import Head, credits_text

log = structlog.get_logger(__name__)
# Never back: of two checks at once the one that saw more has the say. In the order of the ids, so that two never wait
# for each other in a circle.
_SAVE = """
INSERT INTO ledger_checkpoints (wallet_id, seq, entry_hash, balance, events_until, wallet_updated_at)
SELECT * FROM unnest(%(wallets)s::uuid[], %(seqs)s::bigint[], %(hashes)s::text[], %(balances)s::numeric[],
                     %(events)s::timestamptz[], %(updated)s::timestamptz[]) AS c(wallet_id) ORDER BY c.wallet_id
ON CONFLICT (wallet_id) DO UPDATE SET seq = excluded.seq, entry_hash = excluded.entry_hash,
       balance = excluded.balance, events_until = excluded.events_until,
       wallet_updated_at = excluded.wallet_updated_at, checked_at = statement_timestamp()
 WHERE ledger_checkpoints.seq <= excluded.seq
"""


def save_checkpoints(heads: Sequence[Head]) -> None:
    """Remember wallets that were found good, in a short transaction of its own.

    Locks:       the checkpoints; no row that a settlement writes.
    Idempotent:  yes.
    Errors:      none: a database that takes no writes costs the next `--new` more work, and nothing else.
    """
    if not heads:
        return
    parameters: dict[str, Any] = {
        "wallets": [head.id for head in heads],
        "seqs": [head.last_seq for head in heads],
        "hashes": [head.last_hash for head in heads],
        "balances": [credits_text(head.balance) for head in heads],
        "events": [head.events_until for head in heads],
        "updated": [head.updated_at for head in heads],
    }
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_SAVE, parameters)
    except DatabaseError as error:
        log.warning("ledger_checkpoints_not_saved", error=str(error))

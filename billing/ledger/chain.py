"""The hash chain (L10): each entry is sealed with the hash of the one before it in its wallet.

    entry_hash = hex(sha256(previous entry_hash ‖ canonical JSON of every other column))

The first entry continues hex(sha256(wallet id)). Hashes are chained as their lower-case hex text. Canonical JSON: keys
sorted, no spaces, ASCII; ids as text, credits with 8 fixed places, times as UTC with microseconds and `Z`.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from uuid import UUID

from billing.ledger.states import Entry
from config.core.money import ledger_text


def seed_hash(wallet_id: UUID) -> str:
    return hashlib.sha256(str(wallet_id).encode()).hexdigest()


def _time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _id(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def canonical(entry: Entry) -> bytes:
    columns = {
        "id": str(entry.id),
        "wallet_id": str(entry.wallet_id),
        "user_id": str(entry.user_id),
        "seq": entry.seq,
        "kind": entry.kind,
        "amount": ledger_text(entry.amount),
        "balance_after": ledger_text(entry.balance_after),
        "reference_type": entry.reference_type,
        "reference_id": _id(entry.reference_id),
        "event_id": _id(entry.event_id),
        "grant_id": _id(entry.grant_id),
        "idempotency_key": entry.idempotency_key,
        "reason": entry.reason,
        "initiated_by": entry.initiated_by,
        "created_at": _time(entry.created_at),
    }
    return json.dumps(columns, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def entry_hash(previous_hash: str, entry: Entry) -> str:
    return hashlib.sha256(previous_hash.encode() + canonical(entry)).hexdigest()

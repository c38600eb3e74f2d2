"""One statement writes all that a ledger transaction changed: events, lots, entries, allocations, hold, wallet.

One statement, because each round trip under the wallet's lock is time that every other turn of that user waits. The
rows travel as JSON arrays; PostgreSQL reads credits from their text, so no float comes near.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from billing.alerts.crossings import record_crossings
from billing.ledger.posting import Posting
from billing.ledger.states import (
    Entry,
    HoldChange,
    MeteredCall,
    MeteredTool,
    NewLot,
    Place,
    Reference,
    Share,
    WalletState,
)
from config.core.money import ZERO, ledger_text, usage_text

_WRITE = """
WITH events AS (
    INSERT INTO llm_call_events (
        id, user_id, room_id, session_id, turn_id, step_id, agent_id, api_key_id, purpose, provider, model_alias,
        provider_model, input_tokens_fresh, input_tokens_cached, input_tokens_cache_write, output_tokens,
        reasoning_tokens, total_tokens, oe_tokens_computed, multiplier, credits_burned, credits_charged,
        provider_cost_usd, usage_source, usage_flags, raw_usage, latency_ms, status, pricing_version,
        pricing_revision, call_index, request_id, called_at, created_at)
    SELECT id, %(user_id)s, room_id, session_id, turn_id, step_id, agent_id, api_key_id, purpose, provider,
        model_alias, provider_model, input_tokens_fresh, input_tokens_cached, input_tokens_cache_write, output_tokens,
        reasoning_tokens, total_tokens, oe_tokens_computed, multiplier, credits_burned, credits_charged,
        provider_cost_usd, usage_source, usage_flags, raw_usage, latency_ms, status, pricing_version,
        pricing_revision, call_index, request_id, called_at, %(now)s
      FROM jsonb_to_recordset(%(events)s::jsonb) AS e(
        id uuid, room_id uuid, session_id uuid, turn_id uuid, step_id uuid, agent_id uuid, api_key_id uuid,
        purpose text, provider text, model_alias text, provider_model text, input_tokens_fresh bigint,
        input_tokens_cached bigint, input_tokens_cache_write bigint, output_tokens bigint,
        reasoning_tokens bigint, total_tokens bigint, oe_tokens_computed numeric, multiplier numeric,
        credits_burned numeric, credits_charged numeric, provider_cost_usd numeric, usage_source text,
        usage_flags jsonb, raw_usage jsonb, latency_ms bigint, status text, pricing_version text,
        pricing_revision int, call_index int, request_id text, called_at timestamptz)
), lots_made AS (
    INSERT INTO credit_grants (
        id, user_id, kind, amount, remaining, priority, expires_at, campaign, aliases, created_at)
    SELECT id, %(user_id)s, kind, amount, remaining, priority, expires_at, campaign, aliases, %(now)s
      FROM jsonb_to_recordset(%(lots_made)s::jsonb) AS g(
        id uuid, kind text, amount numeric, remaining numeric, priority smallint, expires_at timestamptz,
        campaign text, aliases text[])
), lots AS (
    UPDATE credit_grants g SET remaining = l.remaining, voided_at = CASE WHEN l.voided THEN %(now)s ELSE g.voided_at END
      FROM jsonb_to_recordset(%(lots)s::jsonb) AS l(id uuid, remaining numeric, voided bool) WHERE g.id = l.id
), entries AS (
    INSERT INTO credit_transactions (
        id, wallet_id, user_id, seq, kind, amount, balance_after, reference_type, reference_id, event_id, grant_id,
        idempotency_key, reason, initiated_by, entry_hash, created_at)
    SELECT id, %(wallet_id)s, %(user_id)s, seq, kind, amount, balance_after, reference_type, reference_id, event_id,
        grant_id, idempotency_key, reason, initiated_by, entry_hash, %(now)s
      FROM jsonb_to_recordset(%(entries)s::jsonb) AS t(
        id uuid, seq bigint, kind text, amount numeric, balance_after numeric, reference_type text,
        reference_id uuid, event_id uuid, grant_id uuid, idempotency_key text, reason text, initiated_by text,
        entry_hash text)
), allocations AS (
    INSERT INTO credit_allocations (id, entry_id, grant_id, amount)
    SELECT id, entry_id, grant_id, amount
      FROM jsonb_to_recordset(%(allocations)s::jsonb) AS a(id uuid, entry_id uuid, grant_id uuid, amount numeric)
){tools}{hold}
UPDATE credit_wallets SET balance = %(balance)s, held = %(held)s, last_seq = %(seq)s, last_hash = %(last_hash)s,
       next_expiry_at = %(next_expiry_at)s, has_scoped_lots = %(has_scoped_lots)s, updated_at = %(now)s
 WHERE id = %(wallet_id)s
"""

# Apart, because most transactions have none, and a statement is planned whole.
_TOOLS = """, tool_events AS (
    INSERT INTO tool_call_events (
        id, user_id, room_id, session_id, turn_id, step_id, agent_id, api_key_id, agent_key, call_index, tool_name,
        arguments_hash, status, error_code, latency_ms, result_bytes, credits_burned, credits_charged, pricing_version,
        pricing_revision, called_at, created_at)
    SELECT id, %(user_id)s, room_id, session_id, turn_id, step_id, agent_id, api_key_id, agent_key, call_index,
        tool_name, arguments_hash, status, error_code, latency_ms, result_bytes, credits_burned, credits_charged,
        pricing_version, pricing_revision, called_at, %(now)s
      FROM jsonb_to_recordset(%(tool_events)s::jsonb) AS c(
        id uuid, room_id uuid, session_id uuid, turn_id uuid, step_id uuid, agent_id uuid, api_key_id uuid,
        agent_key text, call_index int, tool_name text, arguments_hash text, status text, error_code text,
        latency_ms int, result_bytes int, credits_burned numeric, credits_charged numeric, pricing_version text,
        pricing_revision int, called_at timestamptz)
)"""
_OPEN_HOLD = """, hold AS (
    INSERT INTO credit_holds (
        id, user_id, wallet_id, reference_type, reference_id, amount, shares, room_id, api_key_id, status, expires_at,
        created_at)
    VALUES (%(hold_id)s, %(user_id)s, %(wallet_id)s, %(hold_type)s, %(hold_reference_id)s, %(hold_amount)s,
            %(hold_shares)s::jsonb, %(hold_room_id)s, %(hold_api_key_id)s, 'open',
            clock_timestamp() + make_interval(secs => %(hold_ttl_s)s), clock_timestamp())
)"""
_CHANGE_HOLD = """, hold AS (
    UPDATE credit_holds SET amount = %(hold_amount)s, status = %(hold_status)s, charged = %(hold_charged)s,
           balance_after = %(hold_balance_after)s, shares = COALESCE(%(hold_shares)s::jsonb, shares),
           closed_at = CASE WHEN %(hold_status)s = 'open' THEN NULL ELSE %(now)s END
     WHERE id = %(hold_id)s
)"""
_OPEN_HOLD_ALONE = (
    "WITH " + _OPEN_HOLD.lstrip(", ") + "\nUPDATE credit_wallets SET held = %(held)s WHERE id = %(wallet_id)s"
)


def write(posting: Posting) -> None:
    """Write a posting's rows and the wallet's new state in one statement. The wallet's lock is held."""
    hold = posting.changes.hold
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE.replace("{hold}", _CHANGE_HOLD if hold is not None else "").replace(
                "{tools}", _TOOLS if posting.changes.tool_events else ""
            ),
            {**_rows(posting), **_wallet(posting), **_hold(hold)},
        )
    record_crossings(posting)


def write_new_hold(
    *, wallet: WalletState, hold_id: UUID, reference: Reference, shares: Sequence[Share], place: Place, ttl_s: float
) -> None:
    """Open a hold and reserve it on the wallet in one statement. The wallet's lock is held."""
    amount = sum((share.amount for share in shares), ZERO)
    with connection.cursor() as cursor:
        cursor.execute(
            _OPEN_HOLD_ALONE,
            {
                "user_id": wallet.user_id,
                "wallet_id": wallet.id,
                "held": wallet.held + amount,
                "hold_id": hold_id,
                "hold_type": reference.type,
                "hold_reference_id": reference.id,
                "hold_amount": amount,
                "hold_shares": shares_json(shares),
                "hold_room_id": place.room_id,
                "hold_api_key_id": place.api_key_id,
                "hold_ttl_s": ttl_s,
            },
        )


def event_row(
    call: MeteredCall, *, api_key_id: UUID | None, pricing_version: str, pricing_revision: int
) -> dict[str, Any]:
    """A metered call as a row of `llm_call_events`, all but user and time, in JSON's types."""
    pools, rated = call.pools, call.rated
    return {
        "id": str(call.event_id),
        "room_id": _id(call.room_id),
        "session_id": _id(call.session_id),
        "turn_id": _id(call.turn_id),
        "step_id": _id(call.step_id),
        "agent_id": _id(call.agent_id),
        "api_key_id": _id(api_key_id),
        "purpose": call.purpose,
        "provider": call.provider,
        "model_alias": call.model_alias,
        "provider_model": call.provider_model,
        "input_tokens_fresh": pools.input_fresh,
        "input_tokens_cached": pools.input_cached,
        "input_tokens_cache_write": pools.input_cache_write,
        "output_tokens": pools.output,
        "reasoning_tokens": pools.reasoning,
        "total_tokens": pools.total,
        "oe_tokens_computed": usage_text(rated.oe_tokens),
        "multiplier": usage_text(call.multiplier),
        "credits_burned": usage_text(rated.credits_burned),
        "credits_charged": ledger_text(rated.credits_charged),
        "provider_cost_usd": None if call.provider_cost_usd is None else ledger_text(call.provider_cost_usd),
        "usage_source": call.usage_source,
        "usage_flags": list(call.usage_flags),
        "raw_usage": call.raw_usage,
        "latency_ms": call.latency_ms,
        "status": call.status,
        "pricing_version": pricing_version,
        "pricing_revision": pricing_revision,
        "call_index": call.call_index,
        "request_id": call.request_id,
        "called_at": call.called_at.isoformat(),
    }


def tool_event_row(
    call: MeteredTool, *, api_key_id: UUID | None, pricing_version: str, pricing_revision: int
) -> dict[str, Any]:
    """A tool's call as a row of `tool_call_events`, all but user and time, in JSON's types."""
    return {
        "id": str(call.event_id),
        "room_id": str(call.room_id),
        "session_id": str(call.session_id),
        "turn_id": str(call.turn_id),
        "step_id": str(call.step_id),
        "agent_id": str(call.agent_id),
        "api_key_id": _id(api_key_id),
        "agent_key": call.agent_key,
        "call_index": call.call_index,
        "tool_name": call.tool_name,
        "arguments_hash": call.arguments_hash,
        "status": call.status,
        "error_code": call.error_code,
        "latency_ms": call.latency_ms,
        "result_bytes": call.result_bytes,
        "credits_burned": usage_text(call.rated.credits_burned),
        "credits_charged": ledger_text(call.rated.credits_charged),
        "pricing_version": pricing_version,
        "pricing_revision": pricing_revision,
        "called_at": call.called_at.isoformat(),
    }


def _rows(posting: Posting) -> dict[str, Any]:
    changes = posting.changes
    remaining = {lot.id: lot.remaining for lot in posting.lots}
    made = {lot.id for lot in changes.lots_made}
    touched = [
        {"id": str(id_), "remaining": ledger_text(remaining[id_]), "voided": id_ in changes.voided}
        for id_ in posting.touched
        if id_ not in made
    ]
    allocations = [
        {"id": str(a.id), "entry_id": str(a.entry_id), "grant_id": str(a.grant_id), "amount": ledger_text(a.amount)}
        for a in changes.allocations
    ]
    return {
        "events": json.dumps(changes.events),
        "tool_events": json.dumps(changes.tool_events),
        "lots_made": json.dumps([_lot(lot, ledger_text(remaining[lot.id])) for lot in changes.lots_made]),
        "lots": json.dumps(touched),
        "entries": json.dumps([_entry(entry) for entry in changes.entries]),
        "allocations": json.dumps(allocations),
    }


def _wallet(posting: Posting) -> dict[str, Any]:
    return {
        "user_id": posting.wallet.user_id,
        "wallet_id": posting.wallet.id,
        "balance": posting.balance,
        "held": posting.held,
        "seq": posting.seq,
        "last_hash": posting.last_hash,
        "next_expiry_at": posting.next_expiry_at(),
        "has_scoped_lots": posting.has_scoped_lots(),
        "now": posting.now,
    }


def _hold(hold: HoldChange | None) -> dict[str, Any]:
    if hold is None:
        return {}
    return {
        "hold_id": hold.id,
        "hold_amount": hold.amount,
        "hold_status": hold.status,
        "hold_charged": hold.charged,
        "hold_balance_after": hold.balance_after,
        "hold_shares": None if hold.shares is None else shares_json(hold.shares),
    }


def _lot(lot: NewLot, remaining: str) -> dict[str, Any]:
    return {
        "id": str(lot.id),
        "kind": lot.kind,
        "amount": ledger_text(lot.amount),
        "remaining": remaining,
        "priority": lot.priority,
        "expires_at": lot.expires_at.isoformat() if lot.expires_at else None,
        "campaign": lot.campaign,
        "aliases": list(lot.aliases),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": str(entry.id),
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
        "entry_hash": entry.entry_hash,
    }


def shares_json(shares: Sequence[Share]) -> str:
    return json.dumps([[share.model_alias, _id(share.agent_id), ledger_text(share.amount)] for share in shares])


def _id(value: object) -> str | None:
    return None if value is None else str(value)

"""How a rated call is kept in `turn_steps`, so that whoever settles the turn bills exactly what its run metered."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing.ledger import MeteredCall
from pricing.rating import Rated, TokenPools


def encode(call: MeteredCall) -> dict[str, Any]:
    """Plain JSON; decimals and ids as text. The ids that the step's row and its turn know are left out."""
    return {
        "event_id": str(call.event_id),
        "provider": call.provider,
        "provider_model": call.provider_model,
        "pools": [
            call.pools.input_fresh,
            call.pools.input_cached,
            call.pools.input_cache_write,
            call.pools.output,
            call.pools.reasoning,
        ],
        "rated": [str(call.rated.oe_tokens), str(call.rated.credits_burned), str(call.rated.credits_charged)],
        "multiplier": str(call.multiplier),
        "provider_cost_usd": None if call.provider_cost_usd is None else str(call.provider_cost_usd),
        "usage_source": call.usage_source,
        "usage_flags": list(call.usage_flags),
        "raw_usage": call.raw_usage,
        "latency_ms": call.latency_ms,
        "status": call.status,
        "request_id": call.request_id,
        "called_at": call.called_at.isoformat(),
    }


def decode(
    data: dict[str, Any],
    *,
    call_index: int,
    purpose: str,
    model_alias: str,
    room_id: UUID,
    session_id: UUID,
    turn_id: UUID,
    step_id: UUID,
    agent_id: UUID,
) -> MeteredCall:
    cost = data["provider_cost_usd"]
    return MeteredCall(
        event_id=UUID(data["event_id"]),
        call_index=call_index,
        purpose=purpose,
        provider=data["provider"],
        model_alias=model_alias,
        provider_model=data["provider_model"],
        pools=TokenPools(*data["pools"]),
        rated=Rated(*(Decimal(value) for value in data["rated"])),
        multiplier=Decimal(data["multiplier"]),
        provider_cost_usd=None if cost is None else Decimal(cost),
        usage_source=data["usage_source"],
        usage_flags=tuple(data["usage_flags"]),
        raw_usage=data["raw_usage"],
        latency_ms=data["latency_ms"],
        status=data["status"],
        request_id=data["request_id"],
        called_at=datetime.fromisoformat(data["called_at"]),
        room_id=room_id,
        session_id=session_id,
        turn_id=turn_id,
        step_id=step_id,
        agent_id=agent_id,
    )

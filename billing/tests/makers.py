"""Makers go through the services: one that set a balance would break the invariants in silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from billing import ledger
from billing.ledger import MeteredCall, MeteredTool, Place, Reference, Settlement, Share
from config.core.ids import uuid7
from pricing import cache
from pricing.rating import TokenPools, rate, rate_tool


def credits(text: str) -> Decimal:
    return Decimal(text).quantize(Decimal("0.00000001"))


def make_wallet(amount: str = "10", *, user_id: UUID | None = None, **grant: Any) -> UUID:
    """A user id with a wallet that was granted `amount` credits (none for "0")."""
    user_id = user_id or uuid7()
    if Decimal(amount) > 0:
        ledger.grant(user_id=user_id, amount=credits(amount), reason="test", initiated_by="test", **grant)
    else:
        ledger.get_or_create_wallet(user_id=user_id)
    return user_id


def make_call(
    pools: TokenPools = TokenPools(output=10_000), *, alias: str = "gpt-4o-mini", call_index: int = 1,
    turn_id: UUID | None = None, **fields: Any,
) -> MeteredCall:  # fmt: skip
    """A rated call of a turn. 10,000 output tokens of gpt-4o-mini (x 1.0) cost exactly 1 credit."""
    book = cache.current()
    price = book.find(alias)
    assert price is not None
    values: dict[str, Any] = {
        "event_id": uuid7(),
        "call_index": call_index,
        "purpose": "agent",
        "provider": price.provider,
        "model_alias": alias,
        "provider_model": price.provider_model,
        "pools": pools,
        "rated": rate(pools, multiplier=price.multiplier, weights=book.weights),
        "multiplier": price.multiplier,
        "provider_cost_usd": None,
        "usage_source": "provider",
        "usage_flags": (),
        "raw_usage": None,
        "latency_ms": 1,
        "status": "success",
        "request_id": "test",
        "called_at": datetime.now(UTC),
        "room_id": uuid7(),
        "session_id": uuid7(),
        "turn_id": turn_id or uuid7(),
        "step_id": uuid7(),
        "agent_id": uuid7(),
    }
    return MeteredCall(**(values | fields))


def make_tool(
    name: str = "search", status: str = "success", *, call_index: int = 1, asked_by: int = 1,
    turn_id: UUID | None = None, **fields: Any,
) -> MeteredTool:  # fmt: skip
    """A call of a tool, rated at the active price, that the `asked_by`th LLM call of the turn asked for."""
    values: dict[str, Any] = {
        "event_id": uuid7(),
        "call_index": call_index,
        "asked_by": asked_by,
        "tool_name": name,
        "arguments_hash": "0" * 64,
        "status": status,
        "error_code": "",
        "latency_ms": 1,
        "result_bytes": 1,
        "called_at": datetime.now(UTC),
        "rated": rate_tool(status=status, credits_per_call=cache.current().tool_price(name)),
        "room_id": uuid7(),
        "session_id": uuid7(),
        "turn_id": turn_id or uuid7(),
        "step_id": uuid7(),
        "agent_id": uuid7(),
        "agent_key": "ann",
    }
    return MeteredTool(**(values | fields))


def share(amount: str, alias: str = "gpt-4o-mini", agent_id: UUID | None = None) -> Share:
    return Share(alias, credits(amount), agent_id)


def make_hold(
    user_id: UUID, amount: str, *, enforcement: Any = "hard", alias: str = "gpt-4o-mini", agent_id: UUID | None = None,
    place: Place = Place(),
) -> Reference:  # fmt: skip
    reference = Reference("turn", uuid7())
    shares = [share(amount, alias, agent_id)]
    ledger.place_hold(user_id=user_id, reference=reference, shares=shares, enforcement=enforcement, place=place)
    return reference


def settle(user_id: UUID, reference: Reference, *items: MeteredCall | MeteredTool) -> Settlement:
    book = cache.current()
    return ledger.settle(
        user_id=user_id, reference=reference, calls=[item for item in items if isinstance(item, MeteredCall)],
        tools=[item for item in items if isinstance(item, MeteredTool)], pricing_version=book.pricing_version,
        pricing_revision=book.revision,
    )  # fmt: skip


def charge(user_id: UUID, *pools: TokenPools, alias: str = "gpt-4o-mini") -> Settlement:
    """A turn with these calls, held for and settled."""
    reference = make_hold(user_id, "0", enforcement="off")
    calls = [
        make_call(item, alias=alias, call_index=index, turn_id=reference.id) for index, item in enumerate(pools, 1)
    ]
    return settle(user_id, reference, *calls)


def charge_at(at: datetime, user_id: UUID, *calls: MeteredCall) -> None:
    """A turn with these calls, or direct ones, settled as if it had been then."""
    reference = make_hold(user_id, "0", enforcement="off")
    numbered = [
        replace(call, turn_id=call.turn_id and reference.id, call_index=index) for index, call in enumerate(calls, 1)
    ]
    settle(user_id, reference, *numbered)
    with transaction.atomic(), connection.cursor() as cursor:
        # What is pending is judged before, as it was settled.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SET LOCAL session_replication_role = replica")
        ids = [call.event_id for call in numbered]
        cursor.execute("UPDATE llm_call_events SET created_at = %s WHERE id = ANY(%s)", [at, ids])
        assert cursor.rowcount == len(ids)
        cursor.execute("SET LOCAL session_replication_role = origin")


def make_direct_call(pools: TokenPools = TokenPools(output=10_000), **fields: Any) -> MeteredCall:
    """A call of OpenAI's API: of no turn."""
    nowhere = dict.fromkeys(("room_id", "session_id", "turn_id", "step_id", "agent_id"))
    return replace(make_call(pools, purpose="direct", **fields), **nowhere)  # type: ignore[arg-type]
